"""TFLite files that a test has made, opened as the gate opens a bundle's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.targets import tflite
from export.targets.precision import summarise
from runtime.manifest import ArtifactSpec
from runtime.sessions import SessionSettings, open_session


def opened_tflite(path: Path, settings: SessionSettings | None = None) -> Any:
    """A session of a file, with what the file says about itself."""
    described = tflite.describe(path)
    spec = ArtifactSpec(
        *(path.name, "tflite", "r", "p", path.stat().st_size, ""),
        inputs=described.inputs,
        outputs=described.outputs,
        lengths=described.lengths,
        minimum_runtime=described.minimum_runtime,
        weights=summarise(described),
        gate="pass",
    )
    return open_session(path, spec, settings or SessionSettings())
