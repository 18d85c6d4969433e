"""TFLite files that a test has made, opened as the gate opens a bundle's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.targets import tflite
from export.targets.precision import summarise
from runtime.manifest import ArtifactSpec
from runtime.sessions import SessionSettings, open_session


def tflite_spec(path: Path) -> ArtifactSpec:
    """What a manifest would hold of a file: what the file says about itself."""
    described = tflite.describe(path)
    return ArtifactSpec(
        path=path.name,
        format="tflite",
        recipe="under_test",
        precision="float32",
        bytes=path.stat().st_size,
        sha256="",
        inputs=described.inputs,
        outputs=described.outputs,
        lengths=described.lengths,
        minimum_runtime=described.minimum_runtime,
        weights=summarise(described),
        gate="pass",
    )


def opened_tflite(path: Path, settings: SessionSettings | None = None) -> Any:
    """A session of a file as it describes itself."""
    return open_session(path, tflite_spec(path), settings or SessionSettings())
