"""A model whose last block computes only the position that is read.

A classifier, and a sentence vector of one position, look at one position of the last block's output
and at nothing else. Keys and values are wanted for all positions; query, output projection,
feed-forward and LayerNorm for that one: about an eighth of the work at six layers and 128 tokens.

Only the last block is written out here. Modules, tensors and names are the model's own. The output
is [batch, 1, dim], of which the model's head reads the first or the last position as it always
does.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from export.families.anatomy import ANATOMIES, Block
from export.families.plain.sharing import copy_sharing_parameters


def at_one_position(module: Any) -> Any:
    """A reference's module with a shorter last block.

    Args:
        module: `export.reference.LogitsOnly` or `export.embedding_reference.VectorsOnly`.

    Returns:
        The same function of the same tensors, in modules of its own; `module` itself where every
        position is read, or for a family whose blocks are not BERT's (MobileBERT, XLNet).
    """
    family = module.family
    if family.name not in ANATOMIES or not _reads_one_position(module):
        return module
    model = copy_sharing_parameters(module.model)
    last = _OnePosition(
        ANATOMIES[family.name].blocks(model)[-1],
        heads=model.config.num_attention_heads,
        position=_slice(family.pooled_position),
    )
    base = model.base_model
    if family.name == "albert":
        base.encoder = _SharedBlocks(base.encoder, last)
    else:
        blocks = (base.transformer if family.name == "distilbert" else base.encoder).layer
        blocks[-1] = _LastBlock(blocks[-1], last)
    return module.around(model).train(module.training)


def _reads_one_position(module: Any) -> bool:
    settings = getattr(module, "settings", None)  # of sentence vectors
    return settings is None or settings.pooling == "cls"


def _slice(position: int) -> slice:
    return slice(position, position + 1 or None)


class _OnePosition:
    """What a block does, for one position; no module, so that no parameter gets a second name."""

    def __init__(self, block: Block, *, heads: int, position: slice) -> None:
        self._block, self._heads, self._position = block, heads, position

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The block's output of one position.

        Args:
            hidden: [batch, length, dim].
            mask: [batch, 1, 1, length], added to the scores.

        Returns:
            [batch, 1, dim].
        """
        block, one = self._block, hidden[:, self._position]
        context = _attend(
            block.query(one), block.key(hidden), block.value(hidden), mask, self._heads
        )
        one = block.attention_norm(block.out(context) + one)
        out: Tensor = block.output_norm(block.outer(block.activation(block.inner(one))) + one)
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention of one position to all: [batch, 1, dim]."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    context = scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
    return context.transpose(1, 2).flatten(2)


class _LastBlock(nn.Module):
    """In the place of transformers' block, with its modules under their names."""

    def __init__(self, original: nn.Module, run: _OnePosition) -> None:
        super().__init__()
        for name, child in original.named_children():
            self.add_module(name, child)
        self._run = run

    def forward(self, hidden: Tensor, mask: Tensor, *_: object, **__: object) -> Tensor:
        """As transformers calls its block."""
        return self._run(hidden, mask)


class _SharedBlocks(nn.Module):
    """In the place of ALBERT's stack: its last run of a block is not like those before."""

    albert_layer_groups: Any
    embedding_hidden_mapping_in: nn.Module

    def __init__(self, original: Any, run: _OnePosition) -> None:
        super().__init__()
        for name, child in original.named_children():
            self.add_module(name, child)
        groups, runs = original.config.num_hidden_groups, original.config.num_hidden_layers
        # transformers' own rule for which group a layer takes its weights from.
        self._order = [int(number / (runs / groups)) for number in range(runs)]
        self._run = run

    def forward(self, hidden: Tensor, mask: Tensor, **_: object) -> tuple[Tensor]:
        """As transformers calls its stack."""
        groups = self.albert_layer_groups
        blocks = [block for group in self._order for block in groups[group].albert_layers]
        hidden = self.embedding_hidden_mapping_in(hidden)
        for block in blocks[:-1]:
            hidden = block(hidden, mask)
        return (self._run(hidden, mask),)
