"""The weights that a Core AI asset uses, compared with the reference's bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.targets.base import Effective
from export.targets.coreai._convert import parameters_of
from export.targets.coreai._program import SHARED, constants, read_program
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import Reference


def effective_of(path: Path, reference: Reference) -> Effective:
    """See `export.targets.coreai.effective`."""
    stored: dict[str, npt.NDArray[Any]] = {}
    for constant in constants(read_program(path).module):
        for name in (constant.name or "").split(SHARED):
            stored[name] = constant.values() if name not in stored else stored[name]
    parameters = parameters_of(reference)
    for name, expected in parameters.items():
        if name not in stored:
            raise UserError(f"{path}: the weight {name} is missing")
        _compare(path, name, stored[name], expected)
    return Effective({name: stored[name] for name in parameters}, _layer_norm_eps(reference))


def _layer_norm_eps(reference: Reference) -> float:
    """The model's, as a float32 can express it.

    From the model and not from the asset, so that a wrong one there shows as a wrong graph.
    """
    found = {m.eps for m in reference.module.modules() if isinstance(m, torch.nn.LayerNorm)}
    if len(found) != 1:
        raise UserError(f"the model has the LayerNorm epsilons {sorted(found)}, not one")
    return float(np.float32(found.pop()))


def _compare(
    path: Path, name: str, found: npt.NDArray[Any], expected: npt.NDArray[np.float32]
) -> None:
    if found.dtype != np.float32 or found.shape != expected.shape:
        raise UserError(
            f"{path}: {name} is {found.dtype} {list(found.shape)}",
            why=f"the reference's is float32 {list(expected.shape)}",
        )
    # Bits, not values: NaN is equal to itself and -0.0 is not 0.0.
    differing = found.view(np.uint32) != np.ascontiguousarray(expected).view(np.uint32)
    if differing.any():
        place = tuple(int(axis) for axis in np.argwhere(differing)[0])
        raise UserError(
            f"{path}: {name} has {int(differing.sum())} of {found.size} elements other than the "
            "reference's",
            why=f"at {list(place)} it is {found[place]} and not {expected[place]}",
        )
