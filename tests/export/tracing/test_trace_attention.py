"""Attention summed up, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from export.tracing.attention import looked_at, rollout, strongest
from export.tracing.document import Floats


def random_attention(layers: int, heads: int, n: int) -> Floats:
    x = np.random.default_rng(7).random((layers, heads, n, n)) ** 4
    return np.asarray(x / x.sum(-1, keepdims=True), dtype=np.float32)


def test_rollout_by_hand() -> None:
    # Position 0 looks at 1 alone, and 1 at itself.
    layer = np.array([[[0.0, 1.0], [0.0, 1.0]]], dtype=np.float32)
    assert rollout(layer[None], 0).tolist() == [0.5, 0.5]
    assert rollout(np.stack([layer, layer]), 0).tolist() == [0.25, 0.75]
    assert rollout(np.stack([layer, layer]), 1).tolist() == [0.0, 1.0]


def test_rollout_is_the_product_of_the_layers() -> None:
    attention = random_attention(4, 3, 6)
    product = np.eye(6)
    for layer in attention:  # Abnar and Zuidema: the later layer on the left
        product = (0.5 * layer.mean(0) + 0.5 * np.eye(6)) @ product
    for position in range(6):
        np.testing.assert_allclose(rollout(attention, position), product[position], atol=1e-6)
    assert rollout(attention, 2).sum() == pytest.approx(1)


def test_the_order_of_the_layers_counts() -> None:
    attention = random_attention(3, 2, 5)
    assert not np.allclose(rollout(attention, 0), rollout(attention[::-1], 0), atol=1e-3)


def test_looked_at_is_the_mean_of_the_heads() -> None:
    attention = random_attention(2, 3, 4)
    found = looked_at(attention, 1)
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found[1], (attention[1, :, 1]).sum(0) / 3, atol=1e-7)


def test_strongest_pairs() -> None:
    heads = np.array([[[0.1, 0.9], [0.4, 0.6]], [[0.5, 0.5], [1.0, 0.0]]], dtype=np.float32)
    first, second = strongest(heads, 2)
    assert [(x.source, x.target) for x in first] == [(0, 1), (1, 1)]
    assert first[0].weight == pytest.approx(0.9)
    assert [(x.source, x.target) for x in second] == [(1, 0), (0, 0)]
    assert len(strongest(heads, 99)[0]) == 4
