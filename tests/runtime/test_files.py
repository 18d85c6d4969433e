from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runtime.files import canonical_json, sha256_of, write_atomically


def test_sha256_of_a_file_larger_than_a_piece(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_canonical_json_depends_on_the_value_alone() -> None:
    assert canonical_json({"b": 1, "a": [1.5]}) == canonical_json({"a": [1.5], "b": 1})
    text = canonical_json("\ud83d \u00e9 \U0001f600")
    assert text.isascii()
    assert json.loads(text) == "\ud83d \u00e9 \U0001f600"
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, "old")
    with pytest.raises(TypeError):
        write_atomically(path, 5)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
