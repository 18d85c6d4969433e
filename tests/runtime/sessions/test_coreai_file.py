"""The check of an asset's files, which needs no package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.sessions.coreai_file import METADATA, PROGRAM, PROGRAM_HASH, check_asset


@pytest.fixture
def fake_asset(tmp_path: Path) -> Path:
    """All that the check of files looks at, without a model."""
    path = tmp_path / "model.aimodel"
    path.mkdir()
    program = b"ML\xefR" + bytes(range(200))
    (path / PROGRAM).write_bytes(program)
    (path / PROGRAM_HASH).write_bytes(hashlib.sha256(program).digest())
    (path / METADATA).write_text(json.dumps({"assetVersion": "2.0", "producer": "coreai-core 9"}))
    return path


def test_an_undamaged_folder_passes_the_check(fake_asset: Path) -> None:
    assert check_asset(fake_asset)["producer"] == "coreai-core 9"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (PROGRAM, b"", "not MLIR bytecode"),
        (PROGRAM, b"not a model at all", "not MLIR bytecode"),
        (PROGRAM, b"ML\xefR" + bytes(range(199)), "changed or cut"),
        (PROGRAM, None, "missing"),
        (PROGRAM_HASH, b"", "not a SHA-256"),
        (PROGRAM_HASH, b"0" * 32, "changed or cut"),
        (PROGRAM_HASH, None, "missing"),
        (METADATA, b"{", "not JSON"),
        (METADATA, b"[" * 100_000, "not JSON"),
        (METADATA, b"\xff\xfe", "not JSON"),
        (METADATA, b"[]", "asset version None"),
        (METADATA, b'{"assetVersion": "9.0"}', "asset version '9.0'"),
        (METADATA, b" " * (2 << 20), "larger than"),
        (METADATA, None, "missing"),
        ("more.bin", b"x", "not part of one"),
    ],
)
def test_a_damaged_folder_is_refused(
    fake_asset: Path, name: str, content: bytes | None, reason: str
) -> None:
    (fake_asset / name).unlink(missing_ok=True)
    if content is not None:
        (fake_asset / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        check_asset(fake_asset)
    assert "\n" not in str(caught.value)


def test_other_paths_and_links_are_refused(fake_asset: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.aimodel"
    file.write_bytes(b"x")
    plain = tmp_path / "folder"
    plain.mkdir()
    for path in (file, plain, tmp_path / "missing.aimodel"):
        with pytest.raises(UserError, match="not a Core AI asset"):
            check_asset(path)
    outside = tmp_path / "outside"
    (fake_asset / PROGRAM).rename(outside)
    (fake_asset / PROGRAM).symlink_to(outside)
    with pytest.raises(UserError, match="symbolic link"):
        check_asset(fake_asset)
