"""Are the stored weights what the recipe makes of the original ones? Judged without the quantizer.

A wrong code, scale or row changes what PyTorch computes with the effective weights just as it
changes the artifact, so it would pass as coarse compression. Here every stored number is compared
with the original weight instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.targets.base import Job
from export.targets.coreml._stored_codes import Fault, affine_fault, mask_fault, palette_fault
from runtime.coreml_reference.program import Package
from runtime.coreml_reference.weights import MINIMUM_ELEMENTS, StoredWeight, stored_weights
from runtime.errors import UserError

Array = npt.NDArray[Any]

_FLOATS = ("float16", "float32")


def check_stored_weights(
    package: Package, originals: Mapping[str, npt.NDArray[np.float32]], job: Job
) -> tuple[StoredWeight, ...]:
    """Compare every stored weight with its original.

    A float weight must be the original rounded to its type, bit for bit. Of a compressed one, every
    code must be the best one under the stored scales or tables; scales must be what the smallest
    and largest value give; tables must be centres of their clusters and as good as another k-means
    finds; and the pruned elements must be the smallest.

    Args:
        package: what `read_package` returned.
        originals: name of a stored constant (`StoredWeight.name`, which is the const's name in the
            float package, compressed or not) → float32 array in the stored shape. Small ones, such
            as biases, are welcome.
        job: its recipe says how the package was made.

    Returns:
        the weights that were compared, in the program's order.

    Raises:
        UserError: a weight differs (its name, how many elements and one example are told), is
            missing, or is stored although no original is known.
    """
    stored = {weight.name: weight for weight in stored_weights(package, minimum=1)}
    if missing := sorted(originals.keys() - stored.keys()):
        raise UserError(f"the package has no weight {missing[0]}", why=f"{len(missing)} missing")
    checked = []
    for name, weight in stored.items():
        if name in originals:
            _check(weight, originals[name], job.recipe)
            checked.append(weight)
        elif weight.elements >= MINIMUM_ELEMENTS and not _is_integer(weight):
            raise UserError(
                f"the package stores {name} {list(weight.shape)}",
                why="it is no weight of the model's",
            )
    return tuple(checked)


def _is_integer(weight: StoredWeight) -> bool:
    return weight.operation == "const" and weight.precision not in _FLOATS


def _check(weight: StoredWeight, original: npt.NDArray[np.float32], recipe: Recipe) -> None:
    if weight.shape != original.shape:
        raise UserError(
            f"{weight.name} has the shape {list(weight.shape)}, not {list(original.shape)}"
        )
    rule = recipe.embedding if weight.role == "embedding" else recipe.linear
    stays = rule.precision in _FLOATS or weight.elements < LARGE_WEIGHT_ELEMENTS
    if stays != (weight.precision in _FLOATS) or not (stays or weight.precision == rule.precision):
        wanted = "float" if stays else rule.precision
        raise UserError(f"{weight.name} is stored in {weight.precision}, not in {wanted}")
    fault = _float_fault(weight, original) if stays else _compressed_fault(weight, original, rule)
    if fault is not None:
        raise UserError(
            f"the stored weight {weight.name} is not what the recipe {recipe.name} makes of the "
            "original",
            why=f"{fault.count} of {fault.of} {fault.what}, {fault.example}",
            todo="export again; if it stays, report it",
        )


def _float_fault(weight: StoredWeight, original: npt.NDArray[np.float32]) -> Fault | None:
    stored = weight.floats()
    with np.errstate(over="ignore"):
        expected = original.astype(stored.dtype)
    bits = np.dtype(f"u{stored.dtype.itemsize}")
    different = np.ascontiguousarray(stored).view(bits) != expected.view(bits)
    return Fault.where("elements differ", different, stored, expected)


def _compressed_fault(
    weight: StoredWeight, original: npt.NDArray[np.float32], rule: WeightsRule
) -> Fault | None:
    codes = weight.codes()
    fault = mask_fault(codes.kept, original, rule.sparsity)
    if fault is not None:
        return fault
    if codes.tables is not None:
        return palette_fault(codes, original)
    return affine_fault(codes, original, weight.precision)
