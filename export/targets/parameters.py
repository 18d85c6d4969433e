"""The reference's parameters, for targets that compare them with what an artifact stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import Reference

Floats = npt.NDArray[np.float32]


def original_parameters(reference: Reference) -> dict[str, Floats]:
    """Parameter name of the transformers model → its values, not a copy."""
    state = reference.module.model.state_dict()
    return {name: value.detach().numpy() for name, value in state.items()}


def layer_norm_epsilon(reference: Reference) -> float:
    """The epsilon that all of the model's LayerNorms have, in double precision.

    A model without one, such as MobileBERT, has no use for it: the configuration's is returned.

    Raises:
        UserError: they do not share one.
    """
    from torch import nn

    model: Any = reference.module.model
    epsilons = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
    if not epsilons:
        return float(model.config.layer_norm_eps)
    if len(epsilons) != 1:
        raise UserError(f"the model's LayerNorms have the epsilons {sorted(epsilons)}")
    return float(epsilons.pop())


def add_twins(
    tensors: dict[str, Floats],
    originals: Mapping[str, Floats],
    dtype: npt.DTypeLike = np.float32,
) -> None:
    """Give parameters that are not stored the stored values of another that was equal.

    Converters store equal constants once.

    Args:
        tensors: parameter → stored values; the missing ones are added.
        originals: parameter → original values, of every parameter.
        dtype: that the originals were rounded to before they were compared.

    Raises:
        UserError: a parameter is missing and has no equal.
    """
    for name in [name for name in originals if name not in tensors]:
        wanted = originals[name].astype(dtype)
        for twin in [twin for twin in tensors if originals[twin].shape == wanted.shape]:
            if np.array_equal(originals[twin].astype(dtype), wanted):
                tensors[name] = tensors[twin]
                break
        else:
            raise UserError(
                f"the artifact lacks {name} {list(wanted.shape)}",
                why="no constant has its name, nor the name of a parameter with equal values",
            )
