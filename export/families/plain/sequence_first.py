"""A model whose blocks have the length as their first axis.

Attention splits channels into heads and multiplies head by head. With [batch, length, dim] the
heads lie inside, and a runtime copies queries, keys and values to bring them outside. With
[length, batch, dim] they are already the second axis of [length, batch · heads, channels], which
onnxruntime's matrix product reads in place (its MatmulTransposeFusion): of four copies one stays.
The embeddings and the last block keep the usual order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.families.anatomy import ANATOMIES, Block
from export.families.plain.one_position import run_block
from export.families.plain.sharing import Rewritten, copy_sharing_parameters, layers_of


def sequence_first(module: Any) -> Any:
    """A reference's module with blocks written so.

    Args:
        module: `export.reference.LogitsOnly` or `export.embedding_reference.VectorsOnly`, or what
            `export.families.plain.one_position` makes of it, whose last block is left alone.

    Returns:
        The same function of the same tensors, in modules of its own; `module` itself for ALBERT,
        whose blocks are one, and for families whose blocks are not BERT's (MobileBERT, XLNet).
    """
    family = module.family
    if family.name not in ANATOMIES or family.name == "albert":
        return module
    model = copy_sharing_parameters(module.model)
    layers, blocks = layers_of(model), ANATOMIES[family.name].blocks(model)
    heads = model.config.num_attention_heads
    places = [place for place, layer in enumerate(layers) if not isinstance(layer, Rewritten)]
    for place in places:
        run = _SequenceFirst(blocks[place], heads, place == places[0], place == places[-1])
        layers[place] = Rewritten(layers[place], run)
    return module.around(model).train(module.training)


class _SequenceFirst:
    """What a block does; the first one turns the axes round, and the last one back."""

    def __init__(self, block: Block, heads: int, is_first: bool, is_last: bool) -> None:
        self._block, self._heads = block, heads
        self._is_first, self._is_last = is_first, is_last
        self._one_per_head = torch.ones((heads, 1), dtype=block.query.weight.dtype)

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The block's output.

        Args:
            hidden: [batch, length, dim] for the first block, else [length, batch, dim].
            mask: [batch, 1, 1, length], added to the scores.

        Returns:
            [length, batch, dim], of the last one [batch, length, dim].
        """

        def attend(_: Block, __: Tensor, everything: Tensor) -> Tensor:
            return self._attend(everything, mask)

        x = hidden.transpose(0, 1) if self._is_first else hidden
        x = run_block(self._block, x, x, attend)
        return x.transpose(0, 1) if self._is_last else x

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attention before its output projection: [length, batch, dim]."""
        length, _, dim = x.shape
        width = dim // self._heads
        read = self._block.query(x), self._block.key(x), self._block.value(x)
        q, k, v = (part.reshape(length, -1, width).transpose(0, 1) for part in read)
        # [batch · heads, 1, length]. Written so that no shape has to be computed.
        shifts = (mask.squeeze(1).to(x.dtype) * self._one_per_head).reshape(1, -1, mask.shape[3])
        scores = q @ k.transpose(1, 2) * width**-0.5 + shifts.transpose(0, 1)
        context: Tensor = scores.softmax(-1) @ v
        return context.transpose(0, 1).reshape(length, -1, dim)
