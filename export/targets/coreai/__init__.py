"""Core AI: Apple's announced successor to Core ML, a folder for every batch and length.

Experimental: it is made with beta packages, in float32 only (float16 is unusable in this beta), and
runs on iOS and macOS from version 27 on and with Apple's own runtime for Linux.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from export.targets.base import missing_package
from export.targets.base import no_companions as companions
from runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from export.recipes import Recipe
    from export.targets.base import Description, Effective, Job
    from runtime.manifest import ArtifactSpec

TARGET = "coreai"
SUFFIX = ".aimodel"
EXPERIMENTAL = True
OPTIONS: Mapping[str, tuple[str, ...]] = {}
PACKAGES = ("coreai-torch", "coreai-core")

__all__ = [
    "EXPERIMENTAL",
    "OPTIONS",
    "PACKAGES",
    "SUFFIX",
    "TARGET",
    "available",
    "check",
    "companions",
    "describe",
    "effective",
    "make",
    "usage",
]

_MODULES = {"coreai_torch": "coreai-torch", "coreai": "coreai-core"}


def available() -> str | None:
    """None, or one line that names the install command."""
    missing = _missing()
    return str(missing) if missing else None


def check(recipe: Recipe, options: Mapping[str, str], lengths: tuple[int, ...]) -> None:
    """Refuse rules for single layers.

    Raises:
        UserError: the recipe has some.
    """
    del options, lengths
    from export.targets.precision import refuse_layers

    refuse_layers(recipe, "Core AI")


def make(job: Job, destination: Path) -> None:
    """Write the asset: int32 [batch, length] twice → float32 [batch, labels].

    Args:
        job: its recipe must leave every weight in float32.
        destination: folder to write, named ``*.aimodel``; the same job gives the same bytes.

    Raises:
        MissingExtraError: a package of the extra ``coreai`` is not installed.
        UserError: the recipe quantizes, or the format cannot express the model.
    """
    _require()
    from export.targets.coreai._convert import write_asset

    write_asset(job, destination)


def describe(artifact: Path) -> Description:
    """Read an asset back: its signature, every stored weight, its operators.

    Raises:
        MissingExtraError: a package of the extra ``coreai`` is not installed.
        UserError: the folder is not a Core AI asset, or is damaged.
    """
    _require()
    from export.targets.coreai._describe import description_of

    return description_of(artifact)


def effective(artifact: Path, job: Job) -> Effective | None:
    """Compare every stored weight with the reference's, bit for bit, and return them.

    Raises:
        MissingExtraError: a package of the extra ``coreai`` is not installed.
        UserError: the asset is damaged, or a weight is missing or is not the reference's.
    """
    _require()
    from export.targets.coreai._effective import effective_of

    return effective_of(artifact, job.source.reference)


def usage(artifact: ArtifactSpec) -> str:
    """How to load it on a device, Markdown."""
    system = artifact.minimum_runtime.get("iOS", "27.0")
    return (
        f"Core AI, an experimental beta: iOS and macOS {system} and later, any length; made with "
        "the pre-releases coreai-torch and coreai-core, and run by coreai-core on Linux, not on "
        "an Apple device"
    )


def _missing() -> MissingExtraError | None:
    return missing_package(_MODULES, purpose="the target coreai", extra="coreai-export")


def _require() -> None:
    if missing := _missing():
        raise missing
