"""Ranges of activations, from our own executor over real texts: no Mac is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.targets.base import Job, Source
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Operation, Package
from runtime.coreml_reference.signature import signature_of
from runtime.coreml_reference.weights import stored_weights
from runtime.errors import UserError
from runtime.sessions.base import pad_to
from runtime.tokenizer import batch_of

Array = npt.NDArray[Any]

# Operations with an input x and a constant weight: what activations are quantized for. Their
# tokens lie along an axis of an x of so many axes: (axes, axis).
PRODUCTS = {"linear": (3, 1), "conv": (4, 3)}
_LEVELS = 127


def activation_scales(
    float_package: Path, job: Job, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """One scale per value that is multiplied with a weight: its largest magnitude / 127.

    Every text is run alone, padded as a device pads it, and padded positions do not count: what
    stands there reaches no logit. The range reaches to the largest magnitude: to leave the largest
    0.1 % out made the small default worse, 0.01 % made one of its two samples worse.

    Args:
        float_package: float16 or float32.
        job: `job.source.calibration` has the ids of the texts.
        progress: called with (texts done, texts).

    Returns:
        name of the value → scale, positive and within float16.

    Raises:
        UserError: there are no texts, or a text cannot be run.
    """
    texts = job.source.calibration
    if not texts:
        raise UserError(
            f"the recipe {job.recipe.name} needs texts to calibrate its activations with",
            todo="give data with a training split",
        )
    package = read_package(float_package)
    wanted = _wanted(package)
    largest = dict.fromkeys(wanted, 0.0)
    tokens, right = 0, job.source.pad_side == "right"

    def look(_: Operation, name: str, value: Array) -> None:
        if name in wanted:
            axes, axis = wanted[name]
            # After the first token is picked there is no axis of tokens, or one of length 1.
            if value.ndim == axes and value.shape[axis] > 1:
                value = np.moveaxis(value, axis, 0)
                value = value[:tokens] if right else value[-tokens:]
            largest[name] = max(largest[name], float(np.abs(value).max()))

    executor = Executor(package, ExecutorSettings(mode="f32"))
    for number, ids in enumerate(texts):
        tokens = len(ids)
        executor.run(inputs_of(package, ids, job.source), trace=look)
        progress(number + 1, len(texts))
    least = float(np.finfo(np.float16).tiny)
    return {name: max(value / _LEVELS, least) for name, value in largest.items()}


def _wanted(package: Package) -> dict[str, tuple[int, int]]:
    """Value → where its tokens lie, as in `PRODUCTS`, for every x that meets a constant weight."""
    constants = {weight.name for weight in stored_weights(package, minimum=1)}
    return {
        x: PRODUCTS[operation.kind]
        for operation in package.function.operations
        if operation.kind in PRODUCTS and operation.inputs["weight"][0] in constants
        if isinstance(x := operation.inputs["x"][0], str) and x not in constants
    }


def inputs_of(package: Package, ids: tuple[int, ...], source: Source) -> dict[str, Array]:
    """A text at the shortest length that the package has for it.

    Raises:
        UserError: it is longer than every length.
    """
    signature = signature_of(package)
    lengths = signature.lengths or (len(ids),)
    length = next((n for n in lengths if len(ids) <= n <= signature.longest), None)
    if length is None:
        raise UserError(f"a calibration text of {len(ids)} ids is longer than {signature.longest}")
    rows, mask = batch_of([ids], source.pad_id)
    return {
        "input_ids": pad_to(rows, length, source.pad_id, source.pad_side),
        "attention_mask": pad_to(mask, length, 0, source.pad_side),
    }
