"""Core ML (ML program): one .mlpackage folder, which Xcode takes as it is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from export.targets.base import missing_package
from export.targets.coreml._options import OPTIONS
from runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from export.recipes import Recipe
    from export.targets.base import Description, Effective, Job
    from runtime.manifest import ArtifactSpec

TARGET = "coreml"
SUFFIX = ".mlpackage"
EXPERIMENTAL = False
PACKAGES = ("coremltools",)

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

_MAC_SCRIPT = "check_on_mac.py"


def available() -> str | None:
    """None, or one line that names the install command."""
    missing = _missing()
    return str(missing) if missing else None


def check(recipe: Recipe, options: Mapping[str, str], lengths: tuple[int, ...]) -> None:
    """Refuse options that do not go together, recipes that need a newer system, and layers' rules.

    Raises:
        UserError: says what to choose instead.
    """
    from export.targets.coreml._options import check_options
    from export.targets.coreml._plan import check_recipe
    from export.targets.precision import refuse_layers

    refuse_layers(recipe, "Core ML")
    check_options(options, lengths)
    check_recipe(recipe, int(options["deployment_target"].removeprefix("iOS")))


def make(job: Job, destination: Path) -> None:
    """Write one recipe's package; the same job gives the same bytes.

    The inputs are ``input_ids`` and ``attention_mask``, int32 [1, length], padded on the family's
    side; the output is ``logits``, float32 [1, labels], or ``embedding``, float32 [1, numbers of a
    vector]. A classifier has ``classLabel`` (string) and ``classLabel_probs`` (string →
    probability) besides: coremltools' own names for them.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: options that do not go together, a model or recipe that Core ML cannot do, or a
            model whose values leave float16's range.
    """
    missing = _missing()
    if missing:
        raise missing
    from export.targets.coreml._convert import float_package

    floats = float_package(job)
    if job.recipe.quantizes:
        from export.targets.coreml._compress import compress

        compress(floats, job, destination)
    else:
        from export.targets.coreml._save import save_with_metadata

        save_with_metadata(floats, destination, job)


def describe(artifact: Path) -> Description:
    """Read a package back; a free axis is called ``length``.

    Raises:
        CoreMLError: it is damaged, or it is not what this target makes.
    """
    from export.targets.coreml._describe import description_of

    return description_of(artifact)


def effective(artifact: Path, job: Job) -> Effective:
    """Compare the stored weights with the reference's and return them as the package uses them.

    Raises:
        CoreMLError: the package is damaged.
        UserError: a stored weight is not what the recipe makes of the reference's, or a parameter
            is missing.
    """
    from export.targets.coreml._effective import effective_of

    return effective_of(artifact, job)


def usage(artifact: ArtifactSpec) -> str:
    """How to load it on a device, Markdown."""
    systems = ", ".join(f"{name} {version}" for name, version in artifact.minimum_runtime.items())
    lengths = "any length up to the longest"
    if artifact.lengths is not None:
        lengths = f"length {' or '.join(map(str, artifact.lengths))}"
    name = Path(artifact.path).stem
    return (
        f"iOS and macOS: drag the package into Xcode, which makes the Swift class `{name}`; "
        f"{systems} or newer, {lengths}. Ids must be below the vocabulary's size: Core ML does not "
        f"check them. On a Mac `python {_MAC_SCRIPT}` compares it with the reference"
    )


def companions(artifact: ArtifactSpec) -> Mapping[str, str]:
    """The script that runs the bundle's packages with Apple's own runtime, on a Mac."""
    del artifact
    return {_MAC_SCRIPT: files(__package__).joinpath(_MAC_SCRIPT).read_text(encoding="utf-8")}


def _missing() -> MissingExtraError | None:
    return missing_package({name: name for name in PACKAGES}, purpose="the target coreml")
