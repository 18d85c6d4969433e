"""Is a stored weight what a recipe makes of the original? Each proof says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.recipes import WeightsRule
from export.rounding.grid import grid_of
from export.targets.onnx._stored import Stored
from export.targets.parameters import Floats
from runtime.errors import UserError

# In steps, for rounding in float32: a code is at most 127 and is stored exactly.
_ROUNDING = 1e-4
# Below this a float32 has fewer digits.
_TINY = np.finfo(np.float32).tiny


def check_float(name: str, stored: npt.NDArray[Any], original: Floats, *, turned: bool) -> Floats:
    """The values of a float weight, which are the original's bit for bit.

    Args:
        name: of the parameter.
        stored: what the file has.
        original: the reference's.
        turned: whether a matrix is [in, out].

    Raises:
        UserError: they are not.
    """
    # More than two axes are no linear layer's: XLNet multiplies by such a parameter as it is.
    values = stored.T if turned and stored.ndim == 2 else stored
    if values.dtype != np.float32:
        raise wrong(name, f"it is stored in {values.dtype}")
    _check_shape(name, values, original)
    values = np.ascontiguousarray(values)
    same = values.view(np.uint32) == np.ascontiguousarray(original).view(np.uint32)
    if not same.all():
        raise wrong(name, f"{_count(~same)} elements are not the original's")
    return values


def check_integers(name: str, stored: Stored, original: Floats, rule: WeightsRule) -> Floats:
    """The values of a weight that is stored as integers, in PyTorch's order of axes.

    Args:
        name: of the parameter.
        stored: its codes and scales.
        original: the reference's, with outliers divided away.
        rule: of the recipe.

    Raises:
        UserError: a code or a scale is not what the rule gives.
    """
    if stored.precision != rule.precision:
        raise wrong(name, f"it is stored in {stored.precision}, not in {rule.precision}")
    _check_shape(name, stored.codes, original)
    try:
        scales = stored.scales()
    except ValueError as error:
        raise wrong(name, str(error)) from error
    check = _int4 if rule.precision == "int4" else _int8
    return check(name, stored.codes, scales, original, rule)


def _int4(
    name: str, codes: npt.NDArray[Any], scales: Floats, original: Floats, rule: WeightsRule
) -> Floats:
    """Every number is that of the grid, bit for bit."""
    grid = grid_of(original, rule, name)
    if scales.shape != grid.scales.shape:
        raise wrong(name, f"{scales.shape[1]} scales a row, not {grid.scales.shape[1]}")
    odd = ~(scales == grid.scales)
    if odd.any():
        raise wrong(name, f"{_count(odd)} scales are not those of their blocks' largest values")
    odd = codes != grid.codes
    if odd.any():
        raise wrong(name, f"{_count(odd)} codes are not the nearest")
    return grid.dense()


def _int8(
    name: str, codes: npt.NDArray[Any], scales: Floats, original: Floats, rule: WeightsRule
) -> Floats:
    """Each scale is the largest value over the largest code; no element is half a step away."""
    if scales.shape != (len(codes), 1):
        raise wrong(name, f"{scales.size} scales for {len(codes)} channels or rows")
    largest = 64 if rule.reduce_range else 127
    steps = np.abs(original).max(axis=1, keepdims=True) / np.float32(largest)
    steps[steps == 0] = 1  # also where the quotient is too small for a float32
    # Not `>`: NaN must not pass. The last digit of a float32 is 6e-8 of it.
    odd = ~(np.abs(scales - steps) <= 2e-7 * steps + _TINY)
    if odd.any():
        raise wrong(name, f"{_count(odd)} scales are not the largest value over {largest}")
    if (np.abs(codes.astype(np.int16)) > largest).any():
        raise wrong(name, f"codes lie outside -{largest} to {largest}")
    values = codes * scales
    odd = ~(np.abs(values - original) <= (0.5 + _ROUNDING) * scales + _TINY)
    if odd.any():
        raise wrong(name, f"{_count(odd)} elements are more than half a step from the original")
    return np.ascontiguousarray(values)


def wrong(name: str, why: str) -> UserError:
    """The error for a stored weight."""
    return UserError(
        f"the stored weight {name} is not what the recipe makes of the original",
        why=why,
        todo="export again; if it stays, report it",
    )


def _check_shape(name: str, values: npt.NDArray[Any], original: Floats) -> None:
    if values.shape != original.shape:
        raise wrong(name, f"it has the shape {list(values.shape)}, not {list(original.shape)}")


def _count(where: npt.NDArray[np.bool_]) -> str:
    return f"{int(where.sum())} of {where.size}"
