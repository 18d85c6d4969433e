"""Open a bundle: read its manifest, verify every byte, refuse what is not as promised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runtime.errors import BundleError
from runtime.files import files_below, sha256_of, sha256_of_listing
from runtime.manifest import ArtifactSpec, FileSpec, Manifest

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
PARITY = "parity.json"
LABELS = "labels.txt"
CARD = "README.md"
COMPATIBILITY = "compatibility.json"

# A manifest is a few kilobytes; a larger one is an attack or a mistake.
_MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose manifest was read and, unless asked otherwise, whose hashes agree."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """Absolute path of a file of the bundle.

        Raises:
            BundleError: the path is absolute, leaves the folder or is a link.
        """
        return resolve_inside(self.path, relative)

    def artifact(self, name: str | None = None) -> ArtifactSpec:
        """The artifact with this file name, format or recipe; without a name the smallest one.

        Raises:
            BundleError: no artifact, or more than one, has that name.
        """
        artifacts = self.manifest.artifacts
        if name is None:
            return min(artifacts, key=lambda artifact: artifact.bytes)
        found = [a for a in artifacts if a.path == name]
        if not found:
            found = [a for a in artifacts if name in (a.format, a.recipe, a.precision)]
        if len(found) != 1:
            known = ", ".join(a.path for a in artifacts)
            problem = "no artifact" if not found else "more than one artifact"
            raise BundleError(f"{problem} is called {name!r}", todo=f"name one of: {known}")
        return found[0]


def resolve_inside(folder: Path, relative: str) -> Path:
    """Join a manifest's path to its folder and refuse whatever would lead out of it.

    Raises:
        BundleError: absolute, empty, with ``..`` or a backslash, or through a symbolic link.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or "\\" in relative:
        raise BundleError(f"the bundle names the path {relative!r}", why="it leaves the folder")
    if "\0" in relative:
        raise BundleError("the bundle names a path with a NUL character")
    current = folder
    for part in pure.parts:
        current = current / part
        if current.is_symlink():
            raise BundleError(f"{relative} is a symbolic link", why="a bundle has only files")
    return current


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` without looking at the other files.

    Raises:
        BundleError: the folder or the manifest is missing, or the manifest is not valid.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder} is not a folder", todo="make a bundle with: make export TARGET=tflite"
        )
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a bundle",
            why=f"it has no {MANIFEST}, which is written last",
            todo="export it again",
        )
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} is larger than {_MAX_MANIFEST_BYTES} bytes")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is not JSON", why=str(error), todo="export the bundle again"
        ) from error
    return Manifest.from_json(value)


def open_bundle(folder: Path, *, verify: bool = True) -> Bundle:
    """Open a bundle and compare every file with the size and hash in the manifest.

    Args:
        folder: the bundle's folder.
        verify: False skips the hashes, for a folder that was verified a moment ago.

    Raises:
        BundleError: whatever is missing, changed or not allowed.
    """
    bundle = Bundle(path=folder, manifest=read_manifest(folder))
    for entry in bundle.manifest.files:
        _check_file(bundle, entry, verify=verify)
    for artifact in bundle.manifest.artifacts:
        if artifact.files:
            _check_folder(bundle, artifact, verify=verify)
        else:
            _check_file(bundle, artifact, verify=verify)
    return bundle


def describe_artifact(folder: Path, relative: str) -> tuple[int, str, tuple[FileSpec, ...]]:
    """What the manifest says of an artifact's bytes.

    Args:
        folder: the bundle's.
        relative: the artifact's path in it.

    Returns:
        Size in bytes, SHA-256, and the files if it is a folder.
    """
    path = folder / relative
    if not path.is_dir():
        return path.stat().st_size, sha256_of(path), ()
    files = tuple(
        FileSpec(file.relative_to(folder).as_posix(), file.stat().st_size, sha256_of(file))
        for file in files_below(path)
    )
    return sum(file.bytes for file in files), _listing_sha256(relative, files), files


def _listing_sha256(relative: str, files: tuple[FileSpec, ...]) -> str:
    return sha256_of_listing(
        [(file.path.removeprefix(f"{relative}/"), file.bytes, file.sha256) for file in files]
    )


def _check_folder(bundle: Bundle, artifact: ArtifactSpec, *, verify: bool) -> None:
    path = bundle.file(artifact.path)
    if not path.is_dir():
        raise BundleError(f"{path} is not a folder", todo="export the bundle again")
    if _listing_sha256(artifact.path, artifact.files) != artifact.sha256:
        raise BundleError(
            f"{artifact.path}: the manifest contradicts itself",
            why="its SHA-256 is not that of its files",
            todo="export the bundle again",
        )
    for file in artifact.files:
        _check_file(bundle, file, verify=verify)
    promised = {file.path for file in artifact.files}
    for found in files_below(path):
        if (name := found.relative_to(bundle.path).as_posix()) not in promised:
            raise BundleError(f"{name} is not in the manifest", todo="remove it, or export again")


def _check_file(bundle: Bundle, entry: FileSpec | ArtifactSpec, *, verify: bool) -> None:
    path = bundle.file(entry.path)
    if not verify:
        return
    if not path.is_file():
        raise BundleError(f"{path} is missing", todo="export the bundle again")
    size = path.stat().st_size
    if size != entry.bytes:
        raise BundleError(
            f"{path} has {size} bytes",
            why=f"the manifest says {entry.bytes}",
            todo="export the bundle again, or copy it again",
        )
    if sha256_of(path) != entry.sha256:
        raise BundleError(
            f"{path} was changed",
            why="its SHA-256 is not the manifest's",
            todo="export the bundle again, or copy it again",
        )
