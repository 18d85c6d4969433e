"""TFLite (LiteRT): one file, one signature per sequence length, weights stored once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.targets.base import missing_package
from export.targets.base import no_companions as companions
from export.targets.base import nothing_to_check as check
from runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from export.recipes import Recipe
    from export.reference import Reference
    from export.targets.base import Description, Effective, Job
    from runtime.manifest import ArtifactSpec

TARGET = "tflite"
SUFFIX = ".tflite"
EXPERIMENTAL = False
OPTIONS: Mapping[str, tuple[str, ...]] = {}
PACKAGES = ("litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert")

__all__ = [
    "EXPERIMENTAL",
    "OPTIONS",
    "PACKAGES",
    "SUFFIX",
    "TARGET",
    "available",
    "check",
    "companions",
    "convert",
    "describe",
    "effective",
    "make",
    "quantize",
    "shortfalls",
    "usage",
]


_PACKAGES = {
    "litert_torch": "litert-torch",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "ai_edge_litert": "ai-edge-litert",
}


def available() -> str | None:
    """None, or one line that names the install command."""
    missing = _missing()
    return str(missing) if missing else None


def make(job: Job, destination: Path) -> None:
    """Write one recipe's artifact; the same job gives the same bytes.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: as `convert` and `quantize`.
    """
    from export.targets.base import make_from_float

    way, suffix = convert, SUFFIX
    rules = (job.recipe.linear, *job.recipe.layers.values())
    if any(rule.precision == "int4" for rule in rules):
        # Weights that were rounded for the recipe must not be multiplied with a LayerNorm's.
        way, suffix = partial(convert, as_they_are=True), f"_as_they_are{SUFFIX}"
    make_from_float(job, destination, convert=way, quantize=quantize, suffix=suffix)


def convert(
    reference: Reference,
    lengths: tuple[int, ...],
    destination: Path,
    *,
    as_they_are: bool = False,
) -> None:
    """Write the float32 file: signature ``seq_LENGTH`` per length.

    Each signature takes ``input_ids`` and ``attention_mask``, int32 [1, length], and returns
    ``logits``, float32 [1, labels].

    Args:
        reference: what to convert.
        lengths: ascending, each at least 2 and at most the model's positions.
        destination: file to write; the same reference gives the same bytes.
        as_they_are: store the matrix of each linear layer as it is, without what the converter
            multiplies into it.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: lengths are not ascending or too long, or the format cannot express the model.
    """
    _require()
    from export.targets.tflite._convert import tflite_from_reference

    tflite_from_reference(reference, lengths, destination, as_they_are=as_they_are)


def quantize(float_artifact: Path, recipe: Recipe, destination: Path) -> None:
    """Write a copy whose weights follow the recipe; operator versions say what it really needs.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: the file is not TFLite, or the recipe asks for what the format cannot do.
    """
    _require()
    from export.targets.tflite._quantize import quantized_from_float

    quantized_from_float(float_artifact, recipe, destination)


def describe(artifact: Path) -> Description:
    """Read a file back.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: the file is not TFLite, is damaged, or has no signature per length.
    """
    _require()
    from export.targets.tflite._describe import description_of

    return description_of(artifact)


def effective(artifact: Path, job: Job) -> Effective:
    """Check the stored weights and return them as the arithmetic uses them, under PyTorch's names.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: the file is damaged, a weight is missing, or it is not what the recipe makes of
            the original.
    """
    _require()
    from export.targets.tflite._effective import effective_of

    return effective_of(artifact, job)


def usage(artifact: ArtifactSpec) -> str:
    """How to load it on a device, Markdown."""
    lengths = ", ".join(f"`seq_{n}`" for n in artifact.lengths or ())
    return (
        f"Android: LiteRT, signature {lengths} (the smallest that holds the ids); store the file "
        "uncompressed"
    )


def shortfalls(artifact: Path) -> tuple[str, ...]:
    """Operators whose version is below what their weights need; empty for a file that is right.

    An old runtime loads such a file and answers wrongly, without an error.

    Raises:
        UserError: as `describe`.
    """
    _require()
    from export.targets.tflite._flatbuffer import load
    from export.targets.tflite._op_versions import shortfalls_of

    return shortfalls_of(load(artifact))


def _missing() -> MissingExtraError | None:
    return missing_package(_PACKAGES, purpose="the target tflite")


def _require() -> None:
    missing = _missing()
    if missing:
        raise missing
