"""ONNX: one file for every length, standard operators of opset 20 only, weights inside the file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.targets.base import missing_package
from export.targets.base import no_companions as companions
from runtime.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from export.recipes import Recipe
    from export.reference import Reference
    from export.targets.base import Description, Effective, Job
    from runtime.manifest import ArtifactSpec

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
    "usage",
]

TARGET = "onnx"
SUFFIX = ".onnx"
EXPERIMENTAL = False
OPTIONS: Mapping[str, tuple[str, ...]] = {}
PACKAGES = ("onnx", "onnxscript", "onnx-ir", "onnxruntime")

_PACKAGES = ("onnx", "onnx_ir", "onnxscript")


def available() -> str | None:
    """None, or one line that names the install command."""
    missing = _missing()
    return str(missing) if missing else None


def check(recipe: Recipe, options: Mapping[str, str], lengths: tuple[int, ...]) -> None:
    """Refuse a recipe whose rules standard operators cannot follow.

    Raises:
        UserError: says what they can.
    """
    del options, lengths
    from export.targets.onnx._rules import check_rules

    check_rules(recipe)


def make(job: Job, destination: Path) -> None:
    """Write one recipe's artifact; the same job gives the same bytes.

    Raises:
        MissingExtraError: a package of the extra ``export`` is not installed.
        UserError: as `convert` and `quantize`.
    """
    from export.targets.base import make_from_float

    quantize_job = partial(quantize, divisors=job.divisors)
    make_from_float(job, destination, convert=convert, quantize=quantize_job, suffix=SUFFIX)


def convert(reference: Reference, lengths: tuple[int, ...], destination: Path) -> None:
    """Write the float32 artifact: int32 [batch, length] twice → float32 [batch, labels].

    Args:
        reference: the logits-only PyTorch module and its facts.
        lengths: ignored, batch and length are free axes.
        destination: file to write; the same reference gives the same bytes.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        UserError: the model cannot be written with ONNX's standard operators.
    """
    del lengths
    _require()
    from export.targets.onnx._convert import onnx_from_reference
    from export.targets.onnx._file import write_model

    write_model(onnx_from_reference(reference), destination)


def quantize(
    float_artifact: Path,
    recipe: Recipe,
    destination: Path,
    divisors: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> None:
    """Write a quantized copy of a file that `convert` made.

    Args:
        float_artifact: the float32 file.
        recipe: what each weight becomes.
        destination: file to write; the same input gives the same bytes.
        divisors: as `Job.divisors`.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        UserError: the file cannot be read, or the recipe asks for what this target cannot do.
    """
    _require()
    from export.targets.onnx._file import read_model, write_model
    from export.targets.onnx._quantize import quantize_model

    model = read_model(float_artifact)
    quantize_model(model, recipe, divisors or {})
    write_model(model, destination)


def describe(artifact: Path) -> Description:
    """Read an artifact back: its signature, every stored weight, its operators.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        UserError: the file is not ONNX, keeps data outside itself or is newer than we know.
    """
    _require()
    from export.targets.onnx._describe import description_of
    from export.targets.onnx._file import read_model
    from runtime.sessions.onnx_graph import open_graph

    return description_of(read_model(artifact), artifact, open_graph(artifact).constants())


def effective(artifact: Path, job: Job) -> Effective:
    """Check the stored weights and return them dequantized, under PyTorch's names.

    Raises:
        UserError: the file cannot be read, a weight is missing, or it is not what the recipe makes
            of the original.
    """
    from export.targets.onnx._effective import effective_of

    return effective_of(artifact, job)


def usage(artifact: ArtifactSpec) -> str:
    """How to load it on a device, Markdown."""
    del artifact
    return "Android, iOS, web: onnxruntime (the full package), any length"


def _missing() -> MissingExtraError | None:
    return missing_package({name: name for name in _PACKAGES}, purpose="the onnx target")


def _require() -> None:
    if missing := _missing():
        raise missing
