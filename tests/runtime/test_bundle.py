from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import MANIFEST, open_bundle, resolve_inside
from runtime.errors import BundleError
from runtime.files import files_below


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def _edit(folder: Path, change: Any) -> None:
    value = json.loads((folder / MANIFEST).read_bytes())
    change(value)
    (folder / MANIFEST).write_text(json.dumps(value))


def test_a_copied_bundle_opens(copied: Path) -> None:
    manifest = open_bundle(copied).manifest
    assert manifest.task.labels == ("rainy", "snowy", "sunny")
    listed = {f.path for f in manifest.files} | {a.path for a in manifest.artifacts} | {MANIFEST}
    assert listed == {path.name for path in copied.iterdir()}


def test_every_flipped_byte_is_found(copied: Path) -> None:
    paths = [path.relative_to(copied).as_posix() for path in files_below(copied)]
    names = [path for path in paths if path != MANIFEST]
    assert "model.mlpackage/Manifest.json" in names
    for name in names:
        data = bytearray((copied / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copied / name).write_bytes(data)
        with pytest.raises(BundleError, match=f"{name} was changed"):
            open_bundle(copied)
        data[len(data) // 2] ^= 1
        (copied / name).write_bytes(data)
    open_bundle(copied)


def test_truncated_and_missing_files_are_found(copied: Path) -> None:
    (copied / "labels.txt").write_bytes(b"")
    with pytest.raises(BundleError, match=r"labels\.txt has 0 bytes"):
        open_bundle(copied)
    (copied / "labels.txt").unlink()
    with pytest.raises(BundleError, match=r"labels\.txt is missing"):
        open_bundle(copied)


def test_a_folder_without_manifest_is_no_bundle(copied: Path, tmp_path: Path) -> None:
    (copied / MANIFEST).unlink()
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(copied)
    with pytest.raises(BundleError, match="is not a folder"):
        open_bundle(tmp_path / "nothing")


@pytest.mark.parametrize("junk", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_manifest_that_is_no_json(copied: Path, junk: bytes) -> None:
    (copied / MANIFEST).write_bytes(junk)
    with pytest.raises(BundleError):
        open_bundle(copied)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "", "a\0b"])
def test_paths_that_leave_the_folder(copied: Path, path: str) -> None:
    with pytest.raises(BundleError):
        resolve_inside(copied, path)
    _edit(copied, lambda m: m["files"][0].update(path=path))
    with pytest.raises(BundleError):
        open_bundle(copied)


def test_a_folder_artifact_holds_its_files_and_no_others(copied: Path, tmp_path: Path) -> None:
    stray = copied / "model.mlpackage" / "Data" / "stray"
    stray.write_bytes(b"x")
    with pytest.raises(BundleError, match="stray is not in the manifest"):
        open_bundle(copied)
    stray.unlink()
    inner = copied / "model.mlpackage" / "Manifest.json"
    inner.rename(tmp_path / "Manifest.json")
    with pytest.raises(BundleError, match=r"Manifest\.json is missing"):
        open_bundle(copied)
    inner.symlink_to(tmp_path / "Manifest.json")
    with pytest.raises(BundleError, match="symbolic link"):
        open_bundle(copied)
    inner.unlink()
    (tmp_path / "Manifest.json").rename(inner)
    open_bundle(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["files"].pop(), "its files have other sizes"),
        (lambda a: a.update(sha256="0" * 64), "contradicts itself"),
        (lambda a: a["files"][0].update(path="labels.txt"), "is not inside it"),
        (lambda a: a.update(files=[]), "is missing"),
    ],
)
def test_a_folder_artifact_with_a_false_listing(copied: Path, change: Any, message: str) -> None:
    def edit(manifest: Any) -> None:
        (artifact,) = [a for a in manifest["artifacts"] if a["path"] == "model.mlpackage"]
        change(artifact)

    _edit(copied, edit)
    with pytest.raises(BundleError, match=message):
        open_bundle(copied)


def test_links_are_refused(copied: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (copied / "labels.txt").rename(outside)
    (copied / "labels.txt").symlink_to(outside)
    with pytest.raises(BundleError, match="symbolic link"):
        open_bundle(copied)


def test_artifact_by_name(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    smallest = min(a.bytes for a in bundle.manifest.artifacts)
    assert bundle.artifact().bytes == smallest
    assert bundle.artifact("model_int8.onnx").recipe == "int8"
    with pytest.raises(BundleError, match="more than one artifact is called 'onnx'"):
        bundle.artifact("onnx")
    with pytest.raises(
        BundleError, match=r"no artifact is called 'x'. name one of: model.mlpackage"
    ):
        bundle.artifact("x")
