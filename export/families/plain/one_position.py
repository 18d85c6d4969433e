"""A model whose last block computes only the position that is read.

A classifier, and a sentence vector of one position, look at one position of the last block's output
and at nothing else. Query, output projection, feed-forward and LayerNorm are wanted for that one.

Keys and values of all positions are not wanted either, since products are associative. With the
query q of a head, what comes in x [length, dim], and the probabilities p:

    scores   q · (W_k x + b_k) = (q W_k) · x + q · b_k       the last term is the same for every
                                                            position: softmax leaves it out
    context  Σ p (W_v x + b_v) = W_v (Σ p x) + b_v          the probabilities' sum is 1

So both matrices are multiplied with one row per head instead of one per position. At six layers and
128 ids all this is a sixth of the work.

`at_one_position` writes only the last block out. Modules, tensors and names are the model's own,
but for the keys' matrix, which is transposed. The output is [batch, 1, dim], of which the model's
head reads the first or the last position as it always does.

Who writes every block out, as Core ML does in layouts of its own, takes `run_blocks`, which is the
same rule with an attention of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from export.families.anatomy import ANATOMIES, Block
from export.families.plain.sharing import Rewritten, copy_sharing_parameters, layers_of

# (block, the positions that ask, every position) → attention for each that asks, before its output
# projection, in the layout of the caller.
Attend = Callable[[Block, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Shortened:
    """A model whose last block computes one position.

    Attributes:
        module: the same function as the reference's.
        transposed: name of the matrix that it holds transposed, or empty.
        unused: names of the parameters that it has no use for.
        constants: what it knows by itself.
    """

    module: Any
    transposed: str = ""
    unused: tuple[str, ...] = ()
    constants: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryKey:
    """The last block's layers whose outputs are multiplied with each other, channel by channel.

    Attributes:
        module: the shorter model, in which the key's transposed matrix reads the query.
        query, key: names of the layers, in it as in the model itself.
    """

    module: Any
    query: str
    key: str


def query_and_key(module: Any) -> QueryKey | None:
    """The pair of a model whose last block is shortened so; None for any other.

    Args:
        module: as for `at_one_position`.
    """
    short = at_one_position(module)
    if not short.transposed:
        return None
    model = module.model
    block = ANATOMIES[module.family.name].blocks(model)[-1]
    names = {id(child): name for name, child in model.named_modules()}
    return QueryKey(short.module, names[id(block.query)], names[id(block.key)])


def at_one_position(module: Any) -> Shortened:
    """A reference's module with a shorter last block.

    Args:
        module: `export.reference.LogitsOnly` or `export.embedding_reference.VectorsOnly`.

    Returns:
        The same function of the same tensors, in modules of its own; `module` itself where every
        position is read, or for a family whose blocks are not BERT's (MobileBERT, XLNet).
    """
    family, position = module.family, read_position(module)
    if family.name not in ANATOMIES or position is None:
        return Shortened(module)
    model = copy_sharing_parameters(module.model)
    block = ANATOMIES[family.name].blocks(model)[-1]
    heads = model.config.num_attention_heads
    if family.name == "albert":
        # Its one block makes keys in the ordinary way, too: a transposed copy would cost more than
        # it saves.
        encoder = model.base_model.encoder
        model.base_model.encoder = _SharedBlocks(encoder, _OnePosition(block, heads, position))
        return Shortened(module.around(model).train(module.training))
    key = next(name for name, child in model.named_modules() if child is block.key)
    parent, _, own = key.rpartition(".")
    transposed = _transposed(block.key)
    setattr(model.get_submodule(parent), own, transposed)
    last = _OneRowPerHead(replace(block, key=transposed), heads, position)
    blocks = layers_of(model)
    blocks[-1] = Rewritten(blocks[-1], last)
    short = module.around(model).train(module.training)
    return Shortened(short, f"{key}.weight", (f"{key}.bias",), (last.own, last.scale))


def _transposed(layer: nn.Linear) -> nn.Linear:
    """The layer x W of a layer x Wᵀ + b; its weight is a view of the other's."""
    out = nn.Linear(layer.out_features, layer.in_features, bias=False, device="meta")
    out.weight = nn.Parameter(layer.weight.detach().T, requires_grad=False)
    return out


def read_position(module: Any) -> slice | None:
    """The one position of the last hidden states that is read; None where all of them are.

    Args:
        module: as for `at_one_position`.
    """
    settings = getattr(module, "settings", None)  # of sentence vectors
    return None if settings and settings.pooling != "cls" else _slice(module.family.pooled_position)


def _slice(position: int) -> slice:
    return slice(position, position + 1 or None)


def run_blocks(
    blocks: Sequence[Block], hidden: Tensor, attend: Attend, narrow: Callable[[Tensor], Tensor]
) -> Tensor:
    """An encoder's blocks one after the other, the last for the wanted positions alone.

    Args:
        blocks: in order; their modules take `hidden`'s layout, whichever that is.
        hidden: what the first one reads.
        attend: see `Attend`.
        narrow: leaves of hidden states the positions that are wanted of the last block.
    """
    for block in blocks[:-1]:
        hidden = run_block(block, hidden, hidden, attend)
    return run_block(blocks[-1], narrow(hidden), hidden, attend)


def run_block(block: Block, wanted: Tensor, hidden: Tensor, attend: Attend) -> Tensor:
    """A block's output at some positions.

    Args:
        block: its modules take the layout of the tensors.
        wanted: the positions of `hidden` whose output is wanted, or `hidden` itself.
        hidden: every position: attention looks at all.
        attend: see `Attend`.

    Returns:
        As `wanted`.
    """
    wanted = block.attention_norm(block.out(attend(block, wanted, hidden)) + wanted)
    inner = block.outer(block.activation(block.inner(wanted)))
    out: Tensor = block.output_norm(inner + wanted)
    return out


class _OnePosition:
    """What a block does, for one position; no module, so that no parameter gets a second name."""

    def __init__(self, block: Block, heads: int, position: slice) -> None:
        self._block, self._heads, self._position = block, heads, position

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The block's output of one position.

        Args:
            hidden: [batch, length, dim].
            mask: [batch, 1, 1, length], added to the scores.

        Returns:
            [batch, 1, dim].
        """

        def attend(_: Block, wanted: Tensor, everything: Tensor) -> Tensor:
            return self._attend(wanted, everything, mask)

        return run_block(self._block, hidden[:, self._position], hidden, attend)

    def _attend(self, one: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """Attention of one position to all, before its output projection: [batch, 1, dim]."""
        read = self._block.query(one), self._block.key(hidden), self._block.value(hidden)
        q, k, v = (x.reshape(*x.shape[:2], self._heads, -1).transpose(1, 2) for x in read)
        context = scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
        return context.transpose(1, 2).flatten(2)


class _OneRowPerHead(_OnePosition):
    """The same without keys and values of all positions; the block's `key` is transposed.

    Attributes:
        own: [heads, heads, 1], 1 where a head meets itself, else 0.
        scale: the same, times what scores are multiplied by.
    """

    def __init__(self, block: Block, heads: int, position: slice) -> None:
        super().__init__(block, heads, position)
        weight = block.key.weight
        self._width = weight.shape[0] // heads
        self.own = torch.eye(heads, dtype=weight.dtype).unsqueeze(2)
        self.scale = self.own * self._width**-0.5

    def _attend(self, one: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        query = self._block.query(one).reshape(-1, 1, self._heads, self._width)
        rows = self._block.key((query * self.scale).flatten(2))
        scores = rows @ hidden.transpose(1, 2) + mask.squeeze(1).to(rows.dtype)
        seen: Tensor = self._block.value(scores.softmax(-1) @ hidden)
        own = seen.reshape(-1, self._heads, self._heads, self._width) * self.own
        return own.sum(1).reshape(-1, 1, self._heads * self._width)


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
