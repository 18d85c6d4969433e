"""Faults that are planted in real artifacts, by editing the file, to prove that the gate can fail.

One module per format makes a graph out of a file and writes it back; each declares FORMAT and is
found by it. The faults themselves are written once, in `runtime.faults.catalogue`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol, cast

from runtime.errors import UserError
from runtime.faults.graph import Graph
from runtime.manifest import ArtifactSpec
from runtime.plugins import modules_by

__all__ = ["Artifact", "fault_modules", "read_artifact"]


class Artifact(Protocol):
    """An artifact that was read to be damaged."""

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Its graphs, all of which hold the same model; a fault goes into each."""
        ...

    def save(self, path: Path) -> None:
        """Write it, with what was changed, to a path where nothing is yet."""
        ...


class FaultModule(Protocol):
    """A module of `runtime.faults` that edits artifacts of one format."""

    FORMAT: str

    def available(self) -> str | None:
        """None, or one line that names the install command."""
        ...

    def read(self, path: Path, spec: ArtifactSpec) -> Artifact:
        """Read an artifact.

        Raises:
            MissingExtraError: a package that editing needs is not installed.
        """
        ...


def fault_modules() -> dict[str, FaultModule]:
    """Format → the module that edits it."""
    return cast("dict[str, FaultModule]", modules_by(sys.modules[__name__], "FORMAT"))


def read_artifact(path: Path, spec: ArtifactSpec) -> Artifact:
    """Read an artifact with the module of its format.

    Raises:
        MissingExtraError: a package that editing needs is not installed.
        UserError: no module edits the format.
    """
    modules = fault_modules()
    if spec.format not in modules:
        raise UserError(
            f"no fault can be planted in {spec.path}",
            why=f"it is {spec.format}, and this release edits {', '.join(modules)}",
        )
    artifact = modules[spec.format].read(path, spec)
    for graph in artifact.graphs:
        graph.vectors = any(output.name == "embedding" for output in spec.outputs)
    return artifact
