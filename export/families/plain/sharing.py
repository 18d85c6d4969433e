"""Models whose blocks may be replaced without a second copy of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def copy_sharing_parameters(model: Any) -> Any:
    """A copy whose modules may be replaced, on the original's parameters: do not write to them."""
    shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def layers_of(model: Any) -> Any:
    """The list of a classifier's blocks, where the family has one: not ALBERT's."""
    base = model.base_model
    return (base.transformer if hasattr(base, "transformer") else base.encoder).layer


class Rewritten(nn.Module):
    """In the place of transformers' block, with its modules under their names."""

    def __init__(self, original: nn.Module, run: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        for name, child in original.named_children():
            self.add_module(name, child)
        # No module, so that no parameter gets a second name.
        self._run = run

    def forward(self, hidden: Tensor, mask: Tensor, *_: object, **__: object) -> Tensor:
        """As transformers calls its block.

        Args:
            hidden: what the block before gives.
            mask: [batch, 1, 1, length], added to the scores.
        """
        return self._run(hidden, mask)
