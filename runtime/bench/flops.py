"""How much arithmetic an answer costs, counted from the shapes of a bundle's weights.

One multiplication with its addition is 2 FLOP, as hardware vendors and
`torch.utils.flop_counter` count. With L ids, blocks of width d and products W of shape a × b:

    linear layers     2·L·Σ a·b over the layers of a block, for every block
    attention         2·L²·d for the scores and 2·L²·d for their weighted sum, for every block
    head              2·Σ a·b, on one position

Softmax, normalisation, GELU and look-ups are left out, as they are no products (below 1%).

What the answer *needs* is less: the head reads one position of the last block, so of that block
only keys and values are needed for all L, and the query, the output projection and the
feed-forward layers for one:

    last block        2·L·Σ a·b of keys and values + 2·Σ a·b of the others + 4·L·d

A graph can do with a little less: q·(W x) = (q·W)·x, so with h heads the last block's keys and
values cost 4·L·d·h + 2·Σ a·b instead of the first term, 3% of a full-size DistilBERT's products at
length 128. The limit is held to what is written above, which every runtime's plain graph can reach.

Sources: Vaswani et al. 2017, "Attention is all you need", section 3 (the products); the shapes are
those that the manifest lists in `weights.stored`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.manifest import ArtifactSpec, Manifest, StoredWeight

# Families whose blocks are the formula's. ALBERT stores one block and runs it many times, XLNet and
# MobileBERT multiply more than the formula knows.
FAMILIES = ("distilbert", "bert", "roberta", "electra")

_BLOCK = re.compile(r"\.layer\.(\d+)\.")
_QUERY = re.compile(r"\.(q_lin|query)\.")
_KEYS_VALUES = re.compile(r"\.(k_lin|v_lin|key|value)\.")
# What the manifest lists by itself; a smaller last layer is part of "everything else".
_LISTED_FROM = 256
# Between the table of embeddings and the first block, on every position.
_BEFORE = re.compile(r"embeddings_project")


@dataclass(frozen=True, slots=True)
class Work:
    """Products of one answer, in FLOP.

    Attributes:
        linear: of linear layers, which int8 artifacts multiply in int8.
        attention: of scores and weighted sums, which stay in float32.
    """

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """Both."""
        return self.linear + self.attention


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shapes of the products, as far as the count needs them.

    Attributes:
        before: elements of layers before the blocks.
        keys_values: per block, elements of the layers that make keys and values.
        others: per block, elements of every other linear layer.
        width: per block, of all heads together.
        head: elements of the layers after the blocks.
        shapes: (inner, outer) of the blocks' layers, each once, for measuring the machine.
    """

    before: int
    keys_values: tuple[int, ...]
    others: tuple[int, ...]
    width: tuple[int, ...]
    head: int
    shapes: tuple[tuple[int, int], ...]

    def whole(self, length: int, batch: int = 1) -> Work:
        """Every position of every block."""
        blocks = sum(self.keys_values) + sum(self.others) + self.before
        linear = 2.0 * (length * blocks + self.head)
        attention = 4.0 * length * length * sum(self.width)
        return Work(batch * linear, batch * attention)

    def needed(self, length: int, batch: int = 1) -> Work:
        """The last block on the position that the head reads, beyond keys and values."""
        whole = self.whole(length)
        saved = 2.0 * (length - 1) * self.others[-1]
        less = 4.0 * length * (length - 1) * self.width[-1]
        return Work(batch * (whole.linear - saved), batch * (whole.attention - less))


def architecture_of(manifest: Manifest) -> Architecture | str:
    """Shapes from the manifest, or one sentence on why they cannot be had."""
    family = manifest.source.family
    if family not in FAMILIES:
        return f"the products of {family} are not counted: its blocks are not the formula's"
    if manifest.task.gives_vectors and manifest.task.pooling == "mean":
        return "a mean of all positions needs every one of them; the count is for one"
    for artifact in _preferred(manifest.artifacts):
        found = _from_weights(artifact.weights.stored, len(manifest.task.labels))
        if found is not None:
            return found
    return "no artifact of the bundle lists its weights with PyTorch's names"


def _preferred(artifacts: Sequence[ArtifactSpec]) -> list[ArtifactSpec]:
    """Float files first: their shapes are nobody's packing."""
    return sorted(artifacts, key=lambda artifact: artifact.precision != "float32")


def _from_weights(stored: Sequence[StoredWeight], labels: int) -> Architecture | None:
    keys_values: dict[int, int] = {}
    others: dict[int, int] = {}
    width: dict[int, int] = {}
    shapes: dict[tuple[int, int], None] = {}
    head = before = 0
    for weight in stored:
        if weight.role != "linear" or len(weight.shape) < 2:
            continue
        size = math.prod(weight.shape)
        block = _BLOCK.search(weight.name)
        if block is None:
            if _BEFORE.search(weight.name):
                before += size
            else:
                head += size
            continue
        number = int(block[1])
        part = keys_values if _KEYS_VALUES.search(weight.name) else others
        part[number] = part.get(number, 0) + size
        long, short = max(weight.shape), min(weight.shape)
        shapes |= dict.fromkeys([(short, long), (long, short)])
        if _QUERY.search(weight.name):
            # Square in every family of `FAMILIES`, so it does not matter which axis is which.
            width[number] = short
    numbers = sorted(others)
    if not numbers or sorted(keys_values) != numbers or sorted(width) != numbers:
        return None
    if (last := labels * width[numbers[-1]]) < _LISTED_FROM:
        head += last
    return Architecture(
        before=before,
        keys_values=tuple(keys_values[n] for n in numbers),
        others=tuple(others[n] for n in numbers),
        width=tuple(width[n] for n in numbers),
        head=head,
        shapes=tuple(shapes),
    )
