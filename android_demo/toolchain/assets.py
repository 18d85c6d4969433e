"""Puts a bundle where the Android app finds it: into its assets, whole or not at all.

The app reads the bundle untouched: the manifest byte for byte, and every file and artifact as the
manifest says. Artifacts of other formats stay behind, which the app's reader allows.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import MANIFEST, open_bundle, read_manifest, resolve_inside
from runtime.errors import BundleError, UserError
from runtime.files import files_below, sha256_of
from runtime.manifest import ArtifactSpec, FileSpec, Manifest

ANDROID = Path(__file__).resolve().parent.parent
ASSETS = ANDROID / "app" / "src" / "main" / "assets" / "bundle"
FORMAT = "tflite"
# What `core` can turn a text into ids with.
TOKENIZERS = ("WordPiece", "BPE")
# Google Play counts a base module's compressed download. Its help page (answer 9859372) has said
# 200 MB and, lately, 500 MB; the stricter one is what we warn of.
PLAY_BASE_MODULE = 200_000_000


@dataclass(frozen=True, slots=True)
class Installed:
    """What lies in the app's assets.

    Attributes:
        folder: the bundle's, in the app.
        artifacts: the models that the app ships.
        left_out: the bundle's other artifacts.
        bytes: of everything in the folder.
    """

    folder: Path
    manifest: Manifest
    artifacts: tuple[ArtifactSpec, ...]
    left_out: tuple[ArtifactSpec, ...]
    bytes: int


def install_bundle(bundle: Path, assets: Path = ASSETS, *, allow_failed: bool = False) -> Installed:
    """Verify a bundle, copy what the app needs, verify the copy, and put it in place.

    A reader sees the old bundle or the new one. Whatever goes wrong leaves the old one.

    Args:
        bundle: a bundle's folder.
        assets: where it goes; its parents are made.
        allow_failed: ship artifacts whose gate did not pass.

    Raises:
        BundleError: the bundle is not as its manifest says.
        UserError: the app cannot run it, a gate did not pass, or the place holds something else.
    """
    manifest = open_bundle(bundle).manifest
    _fits_the_app(manifest, allow_failed=allow_failed)
    if assets.is_symlink() or (assets.exists() and not assets.is_dir()):
        raise UserError(f"{assets} is not a folder", todo="remove it")
    if assets.is_dir() and any(assets.iterdir()) and not (assets / MANIFEST).is_file():
        raise UserError(
            f"{assets} holds something that is not a bundle", todo="move it out of the way"
        )
    assets.parent.mkdir(parents=True, exist_ok=True)
    # aapt2 and Gradle leave out names that begin with a dot, should a killed run leave this.
    work = Path(tempfile.mkdtemp(dir=assets.parent, prefix=f".{assets.name}."))
    try:
        new = work / "new"
        new.mkdir()
        for relative in _shipped(manifest):
            target = resolve_inside(new, relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(resolve_inside(bundle, relative), target)
        check_assets(new)
        _put(new, assets, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _installed(assets, manifest)


def check_assets(assets: Path = ASSETS) -> Installed:
    """Compare every file in the app's assets with the manifest that lies beside them.

    Raises:
        BundleError: a file is missing, changed, or not in the manifest.
    """
    if not assets.is_dir():
        raise BundleError(
            "the app's assets hold no bundle",
            why=f"{assets} is not there",
            todo="put one there with: make android BUNDLE=…",
        )
    manifest = read_manifest(assets)
    for entry in _entries(manifest):
        _compare(resolve_inside(assets, entry.path), entry)
    known = set(_shipped(manifest))
    for file in files_below(assets):
        if (name := file.relative_to(assets).as_posix()) not in known:
            raise BundleError(
                f"{file} does not belong to the bundle's part for the app",
                why=f"the manifest does not list {name} among its files and {FORMAT} artifacts",
                todo="make android BUNDLE=… replaces the folder",
            )
    return _installed(assets, manifest)


def _fits_the_app(manifest: Manifest, *, allow_failed: bool) -> None:
    if manifest.task.gives_vectors:
        raise UserError(
            f"{manifest.name} gives sentence vectors",
            why="the demo app shows labels",
            todo="export a classifier: make export TARGET=tflite",
        )
    if manifest.tokenizer.type not in TOKENIZERS:
        raise UserError(
            f"{manifest.name} has a tokenizer of type {manifest.tokenizer.type}",
            why=f"the app rebuilds {' and byte-level '.join(TOKENIZERS)} only",
            todo="export a model with one of these",
        )
    artifacts = _artifacts(manifest)
    if not artifacts:
        formats = ", ".join(sorted({a.format for a in manifest.artifacts}))
        raise UserError(
            f"{manifest.name} has no {FORMAT} artifact, only {formats}",
            todo="export it with: make export TARGET=tflite",
        )
    failed = [f"{a.path} ({a.gate})" for a in artifacts if a.gate != "pass"]
    if failed and not allow_failed:
        raise UserError(
            f"the parity gate did not pass {', '.join(failed)}",
            why="the app would give answers that are not the model's",
            todo="export it again with another recipe, or give --allow-failed",
        )


def _artifacts(manifest: Manifest) -> tuple[ArtifactSpec, ...]:
    return tuple(a for a in manifest.artifacts if a.format == FORMAT)


def _entries(manifest: Manifest) -> list[FileSpec | ArtifactSpec]:
    return [*manifest.files, *_artifacts(manifest)]


def _shipped(manifest: Manifest) -> list[str]:
    return [MANIFEST, *(entry.path for entry in _entries(manifest))]


def _compare(path: Path, entry: FileSpec | ArtifactSpec) -> None:
    again = "run make android BUNDLE=… again"
    if not path.is_file():
        raise BundleError(f"{path} is missing", todo=again)
    if path.stat().st_size != entry.bytes or sha256_of(path) != entry.sha256:
        raise BundleError(f"{path} is not the file that the manifest describes", todo=again)


def _put(new: Path, assets: Path, old: Path) -> None:
    if assets.exists():
        assets.rename(old)
    try:
        new.rename(assets)
    except OSError:
        if old.exists():
            old.rename(assets)
        raise


def _installed(assets: Path, manifest: Manifest) -> Installed:
    artifacts = _artifacts(manifest)
    return Installed(
        folder=assets,
        manifest=manifest,
        artifacts=artifacts,
        left_out=tuple(a for a in manifest.artifacts if a not in artifacts),
        bytes=sum(file.stat().st_size for file in files_below(assets)),
    )
