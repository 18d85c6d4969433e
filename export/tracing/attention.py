"""Attention summed up: what one position looks at, in a layer and through all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.tracing.document import Floats


@dataclass(frozen=True, slots=True)
class Look:
    """Position `source` looks at position `target` with `weight`, in one head."""

    source: int
    target: int
    weight: float


def looked_at(attention: Floats, position: int) -> Floats:
    """What a position looks at in each layer, mean over the heads.

    Args:
        attention: float32 [layers, heads, n, n].
        position: from 0.

    Returns:
        float32 [layers, n]; rows sum to 1.
    """
    return np.asarray(attention[:, :, position].mean(axis=1))


def rollout(attention: Floats, position: int) -> Floats:
    """Attention rollout of Abnar and Zuidema 2020 (arXiv 2005.00928).

    Half of what a layer passes on is taken to come from its attention, mean over the heads, and
    half from the residual connection; the layers' matrices are multiplied. It tells where the
    vector of a position can have come from, not why the label is what it is.

    Args:
        attention: float32 [layers, heads, n, n], rows sum to 1.
        position: whose vector is explained, from 0.

    Returns:
        float32 [n], sums to 1.
    """
    n = attention.shape[-1]
    reached = np.zeros(n)
    reached[position] = 1.0
    # From the last layer back: a row times a matrix, rather than a product of matrices.
    for layer in attention[::-1]:
        mixed = 0.5 * layer.mean(axis=0, dtype=np.float64) + 0.5 * np.eye(n)
        reached = reached @ (mixed / mixed.sum(axis=1, keepdims=True))
    return np.asarray(reached / reached.sum(), dtype=np.float32)


def strongest(heads: Floats, count: int) -> tuple[tuple[Look, ...], ...]:
    """The largest weights of each head, the largest first.

    Args:
        heads: float32 [heads, n, n].
        count: how many of each head.
    """
    found = []
    n = heads.shape[-1]
    for head in heads:
        flat = head.ravel()
        order = np.argsort(-flat, kind="stable")[:count]
        found.append(tuple(Look(int(i) // n, int(i) % n, float(flat[i])) for i in order))
    return tuple(found)
