from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from android_demo.toolchain.assets import check_assets, install_bundle
from android_demo.toolchain.cli import make_app
from runtime.errors import BundleError, UserError
from runtime.files import files_below, sha256_of

from support import ROOT

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def own_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    return tmp_path / "app" / "assets" / "bundle"


def _change(bundle: Path, change: Change) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _listing(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in files_below(folder)}


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_what_the_app_needs_is_copied_and_nothing_else(bundle_folder: Path, assets: Path) -> None:
    installed = install_bundle(bundle_folder, assets)

    manifest = installed.manifest
    models = {a.path for a in manifest.artifacts if a.format == "tflite"}
    assert models
    promised = {"manifest.json", *(f.path for f in manifest.files), *models}
    assert set(_listing(assets)) == promised
    for name, sha256 in _listing(assets).items():
        assert sha256 == sha256_of(bundle_folder / name)
    assert {a.format for a in installed.left_out} == {"onnx", "coreml"}
    assert installed.bytes == sum((assets / name).stat().st_size for name in promised)
    assert [p.name for p in assets.parent.iterdir()] == ["bundle"]
    assert check_assets(assets) == installed


def test_an_old_bundle_is_replaced_whole(bundle_folder: Path, assets: Path) -> None:
    install_bundle(bundle_folder, assets)
    (assets / "left_over.txt").write_text("of another bundle", encoding="utf-8")
    _flip(assets / "labels.txt")

    install_bundle(bundle_folder, assets)

    check_assets(assets)
    assert not (assets / "left_over.txt").exists()


@pytest.mark.parametrize("name", ["model.tflite", "vocab.txt", "golden.json", "model.onnx"])
def test_a_flipped_byte_is_refused_and_the_old_bundle_stays(
    own_bundle: Path, assets: Path, name: str
) -> None:
    install_bundle(own_bundle, assets)
    before = _listing(assets)
    _flip(own_bundle / name)

    with pytest.raises(BundleError, match="SHA-256"):
        install_bundle(own_bundle, assets)

    assert _listing(assets) == before


def test_a_missing_file_is_refused(own_bundle: Path, assets: Path) -> None:
    (own_bundle / "labels.txt").unlink()
    with pytest.raises(BundleError, match="missing"):
        install_bundle(own_bundle, assets)
    assert not assets.parent.exists()


def _newer(manifest: dict[str, Any]) -> None:
    manifest["schema_version"] = 3


def _without_tflite(manifest: dict[str, Any]) -> None:
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["format"] != "tflite"]


def _vectors(manifest: dict[str, Any]) -> None:
    task = {"kind": "embedding", "activation": "l2", "labels": [], "thresholds": None}
    manifest["task"] = task | {"pooling": "mean"}


def _unigram(manifest: dict[str, Any]) -> None:
    tokenizer = manifest["tokenizer"]
    tokenizer["type"] = "Unigram"
    for name in ("vocab", "lowercase", "strip_accents", "clean_text", "handle_chinese_chars"):
        tokenizer[name] = None


def _failed(manifest: dict[str, Any]) -> None:
    for artifact in manifest["artifacts"]:
        artifact["gate"] = "unknown"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_newer, "schema version 3"),
        (_without_tflite, "no tflite artifact, only coreml, onnx"),
        (_vectors, "sentence vectors"),
        (_unigram, "tokenizer of type Unigram"),
        (_failed, r"gate did not pass model.tflite \(unknown\)"),
    ],
)
def test_what_the_app_cannot_run_is_refused_in_one_line(
    own_bundle: Path, change: Change, says: str
) -> None:
    _change(own_bundle, change)
    before = _listing(own_bundle)
    done = subprocess.run(
        [sys.executable, "-m", "android_demo.toolchain", "android", str(own_bundle)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    with pytest.raises(UserError, match=says):
        install_bundle(own_bundle, own_bundle.parent / "assets" / "bundle")
    assert _listing(own_bundle) == before


def test_a_failed_gate_can_be_allowed(own_bundle: Path, assets: Path) -> None:
    _change(own_bundle, _failed)
    installed = install_bundle(own_bundle, assets, allow_failed=True)
    assert {a.gate for a in installed.artifacts} == {"unknown"}


def test_a_folder_that_is_no_bundle_is_not_overwritten(bundle_folder: Path, assets: Path) -> None:
    assets.mkdir(parents=True)
    (assets / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not a bundle"):
        install_bundle(bundle_folder, assets)
    assert (assets / "thesis.txt").read_text(encoding="utf-8") == "mine"


_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from android_demo.toolchain import assets
copy, calls = shutil.copyfile, []
def deadly(source, target):
    calls.append(source)
    if len(calls) == 3:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(source, target)
shutil.copyfile = deadly
assets.install_bundle(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_copy_leaves_the_old_bundle(bundle_folder: Path, assets: Path) -> None:
    install_bundle(bundle_folder, assets)
    before = _listing(assets)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(bundle_folder), str(assets)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert _listing(assets) == before
    # What it leaves behind begins with a dot, which neither aapt2 nor Gradle packages.
    assert all(p.name == "bundle" or p.name.startswith(".") for p in assets.parent.iterdir())


def test_a_full_disk_leaves_the_old_bundle(bundle_folder: Path, assets: Path) -> None:
    install_bundle(bundle_folder, assets)
    before = _listing(assets)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            install_bundle(bundle_folder, assets)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _listing(assets) == before
    assert [p.name for p in assets.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: _flip(folder / "model.tflite"), "model.tflite is not the file"),
        (lambda folder: (folder / "vocab.txt").unlink(), "vocab.txt is missing"),
        (lambda folder: (folder / "more.tflite").write_bytes(b"x"), "does not belong"),
    ],
)
def test_check_finds_what_was_changed_in_the_assets(
    bundle_folder: Path, assets: Path, spoil: Callable[[Path], object], says: str
) -> None:
    install_bundle(bundle_folder, assets)
    spoil(assets)
    with pytest.raises(BundleError, match=says):
        check_assets(assets)


def test_check_without_a_bundle_says_how_to_get_one(assets: Path) -> None:
    with pytest.raises(BundleError, match="make android BUNDLE="):
        check_assets(assets)


def test_the_command_needs_a_bundle_or_check() -> None:
    runner = CliRunner()
    nothing = runner.invoke(make_app(), ["android"])
    both = runner.invoke(make_app(), ["android", "dist/x", "--check"])
    assert isinstance(nothing.exception, UserError)
    assert "no bundle was given" in str(nothing.exception)
    assert isinstance(both.exception, UserError)
    assert "--check" in str(both.exception)
