"""Writes a .mlpackage whose bytes depend on the model and the job alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from export.quiet import silent
from export.targets.base import Job
from export.targets.coreml._metadata import forget_clock, stamp

# Apple's names: what Xcode and coremltools look for.
_ITEMS = "com.apple.CoreML"
_MODEL = "model.mlmodel"
_WEIGHTS = "weights"
# Manifest identifiers are derived from this and from the content they stand for.
_NAMESPACE = uuid.UUID("6c1a55a5-8f6b-5c0b-9e43-2f1f6f0d7c11")


def save_package(mlmodel: Any, destination: Path, job: Job | None = None) -> None:
    """Write a model with the job's metadata; the same model and job give the same bytes.

    Call it inside `_quiet.contained`, which also removes the model's own temporary package.

    Args:
        mlmodel: ``coremltools.models.MLModel`` of an ML program; it is not changed.
        destination: the .mlpackage folder; whatever is there is replaced at the very end.
        job: recipe, options and metadata; without it the package has no metadata of ours.
    """
    _save(mlmodel.get_spec(), mlmodel.weights_dir, destination, job)


def save_with_metadata(package: Path, destination: Path, job: Job) -> None:
    """Write a copy of a package that `save_package` wrote without a job's metadata, with it."""
    with silent():  # importing it prints
        from coremltools.proto import Model_pb2

    items = package / "Data" / _ITEMS
    specification = Model_pb2.Model()
    specification.ParseFromString((items / _MODEL).read_bytes())
    weights = items / _WEIGHTS
    _save(specification, str(weights) if weights.is_dir() else None, destination, job)


def _save(specification: Any, weights: str | None, destination: Path, job: Job | None) -> None:
    if job is None:
        forget_clock(specification)
    else:
        stamp(specification, job)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as new:
        package = Path(new) / "package"
        _write(package, specification, weights)
        _replace(destination, package, aside=Path(new) / "old")


def _write(package: Path, specification: Any, weights: str | None) -> None:
    items = package / "Data" / _ITEMS
    items.mkdir(parents=True)
    # Maps have no order of their own in a protobuf.
    model = specification.SerializeToString(deterministic=True)
    (items / _MODEL).write_bytes(model)
    root = _identifier(_MODEL, model)
    entries = {root: _entry(_MODEL, "CoreML Model Specification")}
    if weights is not None and any(Path(weights).iterdir()):
        (items / _WEIGHTS).mkdir()
        digests = []
        for file in sorted(Path(weights).iterdir()):
            shutil.copyfile(file, items / _WEIGHTS / file.name)
            with file.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").digest())
        entries[_identifier(_WEIGHTS, b"".join(digests))] = _entry(_WEIGHTS, "CoreML Model Weights")
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": root,
    }
    text = json.dumps(manifest, indent=4, sort_keys=True) + "\n"
    (package / "Manifest.json").write_text(text, encoding="ascii")


def _identifier(name: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, f"{name} {digest}")).upper()


def _entry(name: str, description: str) -> dict[str, str]:
    return {
        "author": _ITEMS,
        "description": description,
        "name": name,
        "path": f"{_ITEMS}/{name}",
    }


def _replace(destination: Path, package: Path, aside: Path) -> None:
    """Put a folder in place; a folder cannot be renamed over one that has content."""
    if destination.is_dir() and not destination.is_symlink():
        destination.rename(aside)
    else:
        destination.unlink(missing_ok=True)
    package.rename(destination)
