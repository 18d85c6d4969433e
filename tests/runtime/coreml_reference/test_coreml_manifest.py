"""Manifest.json, paths, and what may stand in the place of a package."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coreml_packages import MODEL, WEIGHTS, copied, save_variant

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant("ios16-fp16", tmp_path_factory.mktemp("packages"))


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return copied(plain, tmp_path)


def _change(package: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = package / "Manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _set_path(path: str) -> Callable[[dict[str, Any]], object]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path

    return change


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON.*nested too deep"),
        (b'{"a":' * 100_000, "not JSON.*nested too deep"),
        (b'{"a": 1, "a": 2}', "names a key twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"{}", "lacks the string fileFormatVersion"),
        (b'{"fileFormatVersion": 1}', "lacks the string fileFormatVersion"),
        (b'{"fileFormatVersion": "2.0.0"}', "file format version '2.0.0'"),
        (b'{"fileFormatVersion": "1.0.0"}', "itemInfoEntries is missing"),
        (b'{"fileFormatVersion": "1.0.0", "itemInfoEntries": {}}', "itemInfoEntries is missing"),
        (b" " * ((1 << 20) + 1), "too large"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_manifest_that_is_damaged(copy: Path, content: bytes, says: str) -> None:
    (copy / "Manifest.json").write_bytes(content)
    with pytest.raises(CoreMLError, match=says):
        read_package(copy)


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("lacks the string rootModelIdentifier", lambda m: m.pop("rootModelIdentifier")),
        ("'x' is none of its items", lambda m: m.update(rootModelIdentifier="x")),
        ("lacks the string rootModelIdentifier", lambda m: m.update(rootModelIdentifier=["x"])),
        ("is no object", lambda m: m["itemInfoEntries"].update(x=7)),
        ("item 'x' of Manifest.json lacks the string", lambda m: m["itemInfoEntries"].update(x={})),
        ("too long", lambda m: m["itemInfoEntries"].update({str(i): {} for i in range(1001)})),
        ("lacks 'Data/other'", lambda m: m["itemInfoEntries"].update(x={"path": "other"})),
        ("lacks 'Data/com.apple.CoreML/m'", _set_path("com.apple.CoreML/m")),
        ("no regular file", _set_path("com.apple.CoreML/weights")),
        ("is no folder", _set_path("com.apple.CoreML/model.mlmodel/x")),
        ("cannot be read", _set_path("a" * 5000)),
        ("cannot be read", _set_path("\ud800")),
    ],
)
def test_manifest_that_is_incomplete(
    copy: Path, says: str, change: Callable[[dict[str, Any]], object]
) -> None:
    _change(copy, change)
    with pytest.raises(CoreMLError, match=says) as caught:
        read_package(copy)
    str(caught.value).encode()


@pytest.mark.parametrize(
    "path",
    ["../Manifest.json", "/etc/passwd", "a/../../x", ".", "..", "a//b", "a\\b", "a\x00b", "C:x"],
)
def test_path_that_leaves_the_package(copy: Path, path: str) -> None:
    _change(copy, _set_path(path))
    with pytest.raises(CoreMLError, match="could leave the package"):
        read_package(copy)
    _change(copy, lambda m: m["itemInfoEntries"].update(weights={"path": path}))
    with pytest.raises(CoreMLError, match="could leave the package"):
        read_package(copy)


@pytest.mark.parametrize(
    "name",
    ["Manifest.json", "Data", "Data/com.apple.CoreML", MODEL, str(Path(WEIGHTS).parent), WEIGHTS],
)
def test_links_at_every_level(copy: Path, name: str) -> None:
    """Even one to the very same content: it could change under the reader's hands."""
    path, moved = copy / name, copy.parent / "moved"
    shutil.move(path, moved)
    path.symlink_to(moved)
    with pytest.raises(CoreMLError, match="symbolic link"):
        read_package(copy)


@pytest.mark.parametrize("name", ["Manifest.json", MODEL, WEIGHTS])
def test_fifo_in_place_of_a_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(CoreMLError, match=r"no regular file|neither a file nor a folder"):
        read_package(copy)


@pytest.mark.parametrize("name", ["Manifest.json", "Data", MODEL, WEIGHTS])
def test_missing_files_are_named(copy: Path, name: str) -> None:
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CoreMLError, match=f"the package lacks '{name}'"):
        read_package(copy)


@pytest.mark.parametrize(
    ("name", "says"),
    [("Manifest.json", "not JSON"), (MODEL, "holds no model"), (WEIGHTS, "64 bytes are needed")],
)
def test_empty_files(copy: Path, name: str, says: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(CoreMLError, match=says):
        read_package(copy)


def test_what_is_no_package(plain: Path, tmp_path: Path) -> None:
    zipped = Path(shutil.make_archive(str(tmp_path / "model"), "zip", plain))
    compiled = tmp_path / "model.mlmodelc"
    compiled.mkdir()
    (compiled / "coremldata.bin").write_bytes(b"x")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in [
        (zipped, "is a zip archive.*unzip"),
        (plain / MODEL, "is a single file"),
        (compiled, "is a compiled model"),
        (fifo, "is no folder"),
        (empty, "lacks 'Manifest.json'"),
        (tmp_path / "missing", "does not exist"),
        (Path("a\x00b"), "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ]:
        with pytest.raises(CoreMLError, match=says):
            read_package(path)


def test_the_package_itself_may_be_reached_by_a_link(plain: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mlpackage"
    link.symlink_to(plain)
    assert read_package(link).path == link
