"""Families' forwards in words that every converter knows, where transformers' own are not.

Most families convert as transformers writes them. XLNet does not, and is written out here. So is
the last block of most others, where only one position of it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from export.families import Family

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]


class Convertible(Protocol):
    """What is read of an `export.reference.Reference`, which is above this package."""

    @property
    def module(self) -> Any:
        """(input_ids, attention_mask) → logits, or vectors where it has a `pool`."""
        ...

    @property
    def family(self) -> Family:
        """What its model is one of."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """What a converter is given in place of a reference.

    Attributes:
        module: (input_ids, attention_mask) → logits or vectors, as the reference's.
        root: of the part of `module` whose parameters are named, with a dot behind it, or empty.
        parameters: of the model as `module` stores them; each is two-dimensional where it is the
            matrix of a linear layer.
        restored: such parameters → the same under transformers' names and in its shapes, without
            those that a classifier has no use for.
        unused: names of the latter.
        constants: length of a sequence → what `module` knows by itself, such as frequencies of
            positions: a converter may store it beside the parameters.
    """

    module: torch.nn.Module
    root: str
    parameters: Tensors
    restored: Callable[[Tensors], dict[str, Floats]]
    unused: tuple[str, ...] = ()
    constants: Callable[[int], tuple[Floats, ...]] = lambda _: ()


def plain_of(
    reference: Convertible, *, one_position: bool = False, sequence_first: bool = False
) -> Plain:
    """The reference, or the same function written out.

    Args:
        reference: its tensors are shared with the result, not copied.
        one_position: compute of the last block only what the answer needs, where that is known:
            see `export.families.plain.one_position`.
        sequence_first: the blocks' tensors as [length, batch, dim], where that is known: see
            `export.families.plain.sequence_first`.
    """
    if reference.family.name == "xlnet":
        from export.families.plain.xlnet import plain_xlnet

        return plain_xlnet(reference.module)
    from export.families.plain import one_position as shorter
    from export.families.plain import sequence_first as turned

    short = shorter.Shortened(reference.module)
    if one_position:
        short = shorter.at_one_position(reference.module)
    module = turned.sequence_first(short.module) if sequence_first else short.module

    def restored(tensors: Tensors) -> dict[str, Floats]:
        return {
            name: np.ascontiguousarray(values.T) if name == short.transposed else values
            for name, values in tensors.items()
        }

    known = tuple(constant.numpy() for constant in short.constants)
    return Plain(module, "model.", _floats(module.model), restored, short.unused, lambda _: known)


def _floats(module: Any) -> dict[str, Floats]:
    state = module.state_dict()
    return {
        name: np.ascontiguousarray(value.numpy())
        for name, value in state.items()
        if value.is_floating_point()
    }
