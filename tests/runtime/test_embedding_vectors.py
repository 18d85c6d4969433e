from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import beta

from runtime.golden import AWKWARD, UNLABELLED, GoldenCase
from runtime.parity.vectors import (
    doubts_about_vectors,
    effective_rank,
    mean_cosine,
    unlike_natural,
    vector_agreement,
)

Vectors = npt.NDArray[np.float32]


def _cases(count: int, *, awkward: int = 0, twins: int = 0) -> list[GoldenCase]:
    """The first `twins` texts after the natural ones have the ids of the first natural ones."""
    ids = [(1, 10 + i, 2) for i in range(count)]
    ids += ids[:twins]
    sets = [UNLABELLED] * (count + twins)
    ids += [(1, 5000 + i, 2) for i in range(awkward)]
    sets += [AWKWARD] * awkward
    return [
        GoldenCase(f"{kind}/{i}", kind, str(i), own, (1, 1, 1), None)
        for i, (own, kind) in enumerate(zip(ids, sets, strict=True))
    ]


def _random(seed: int, texts: int, dim: int = 16) -> Vectors:
    return np.random.default_rng(seed).normal(size=(texts, dim)).astype(np.float32)


def _unit(v: Vectors) -> npt.NDArray[np.float64]:
    w = v.astype(np.float64)
    return np.asarray(w / np.linalg.norm(w, axis=1, keepdims=True))


def test_equal_vectors_agree_in_everything() -> None:
    vectors = _random(0, 60)
    figures = vector_agreement(vectors, vectors, _cases(50, awkward=10)).figures
    assert figures["flips"] == figures["other_flips"] == figures["large_margin_flips"] == 0
    assert figures["neighbour_regret"] == 0
    assert figures["cosine_min"] == pytest.approx(1, abs=1e-12)
    assert figures["metric_drop"] == 0
    assert figures["decisions"] == 50
    # Clopper and Pearson's bound for no flips.
    assert figures["flip_rate_bound"] == pytest.approx(1 - 0.05 ** (1 / 50))


def test_length_is_no_part_of_a_direction() -> None:
    vectors = _random(1, 40)
    longer = (vectors * np.linspace(0.5, 9, 40)[:, None]).astype(np.float32)
    figures = vector_agreement(vectors, longer, _cases(40)).figures
    assert figures["flips"] == 0
    assert figures["cosine_mean"] == pytest.approx(1, abs=1e-7)


def test_flips_are_those_of_a_search_by_hand() -> None:
    reference, artifact = _random(2, 80, 6), _random(2, 80, 6)
    artifact += 0.3 * _random(3, 80, 6)
    agreed = vector_agreement(reference, artifact, _cases(80))
    found = []
    for vectors in (reference, artifact):
        u = _unit(vectors)
        found.append(
            [
                max((j for j in range(80) if j != i), key=lambda j: float(u[i] @ u[j]))
                for i in range(80)
            ]
        )
    flipped = np.array(found[0]) != np.array(found[1])
    assert 5 < flipped.sum() < 75
    np.testing.assert_array_equal(agreed.flips.flipped[:, 0], flipped)
    figures = agreed.figures
    count = int(flipped.sum())
    assert figures["flips"] == count
    assert figures["flip_rate_bound"] == pytest.approx(float(beta.ppf(0.95, count + 1, 80 - count)))
    u = _unit(reference)
    regrets = [u[i] @ u[found[0][i]] - u[i] @ u[found[1][i]] for i in range(80)]
    assert figures["neighbour_regret"] == pytest.approx(max(regrets))
    cosines = (_unit(reference) * _unit(artifact)).sum(axis=1)
    assert figures["cosine_min"] == pytest.approx(cosines.min())
    margins = []
    for i in range(80):
        near = sorted((float(u[i] @ u[j]) for j in range(80) if j != i), reverse=True)
        margins.append(near[0] - near[1])
    np.testing.assert_allclose(agreed.flips.margin[:, 0], margins, atol=1e-12)
    large = flipped & (np.array(margins) > np.median(margins))
    assert figures["large_margin_flips"] == large.sum()


def test_texts_of_equal_ids_count_once_and_are_no_neighbours() -> None:
    vectors = np.concatenate([_random(4, 30), _random(4, 30)[:8]])
    cases = _cases(30, twins=8)
    assert unlike_natural(cases).tolist() == list(range(30))
    agreed = vector_agreement(vectors, vectors, cases)
    assert agreed.figures["decisions"] == 30
    # Were twins neighbours, the margin of the first eight would be that of a cosine of 1.
    alone = vector_agreement(vectors[:30], vectors[:30], _cases(30))
    np.testing.assert_allclose(agreed.flips.margin[:30], alone.flips.margin)


def test_a_broken_vector_is_a_flip_with_no_other_figure() -> None:
    vectors = _random(5, 40)
    broken = vectors.copy()
    broken[7, 3] = np.nan
    figures = vector_agreement(vectors, broken, _cases(40)).figures
    assert figures["flips"] >= 1
    assert figures["large_margin_flips"] >= 1
    assert math.isnan(figures["neighbour_regret"])
    assert math.isnan(figures["cosine_min"])
    assert math.isnan(figures["metric"])


def test_constant_vectors_flip_and_have_no_rank() -> None:
    vectors = _random(6, 40)
    constant = np.repeat(vectors[:1], 40, axis=0)
    figures = vector_agreement(vectors, constant, _cases(40)).figures
    assert figures["flip_rate"] > 0.8
    assert figures["large_margin_flips"] > 10
    assert figures["neighbour_regret"] > 0.2
    assert figures["metric"] == 0


def test_awkward_texts_flip_apart() -> None:
    vectors = _random(7, 50)
    other = vectors.copy()
    other[40:] = _random(8, 10)
    figures = vector_agreement(vectors, other, _cases(40, awkward=10)).figures
    assert figures["flips"] == 0
    assert figures["other_flips"] >= 7
    assert figures["cosine_min"] < 0.8


@pytest.mark.parametrize(("dim", "texts"), [(4, 4000), (64, 4000), (300, 100)])
def test_effective_rank_is_the_number_of_directions(dim: int, texts: int) -> None:
    rank = effective_rank(_random(9, texts, dim))
    # White noise spreads evenly; with few texts for the dimensions, over at most as many.
    assert 0.9 * min(dim, texts) * texts / (texts + dim) < rank < 1.01 * min(dim, texts)


def test_a_line_has_rank_one_and_a_point_none() -> None:
    direction = _random(10, 1)
    line = (direction * np.random.default_rng(0).choice([-1.0, 1.0], (30, 1))).astype(np.float32)
    assert effective_rank(line) == pytest.approx(1)
    assert effective_rank(np.repeat(direction, 30, axis=0)) == 0
    assert mean_cosine(np.repeat(direction, 30, axis=0)) == pytest.approx(1)
    assert abs(mean_cosine(_random(11, 2000))) < 0.01


def test_doubts() -> None:
    good = _random(12, 40)
    assert doubts_about_vectors(good) == ()
    near = (np.ones((40, 16)) + 1e-3 * good).astype(np.float32)
    assert "all alike" in doubts_about_vectors(near)[0]
    line = np.where(np.arange(40)[:, None] % 2, good[:1], -good[:1]).astype(np.float32)
    assert "on a line" in doubts_about_vectors(line)[0]
    assert "too few" in doubts_about_vectors(good[:2])[0]
    zero = good.copy()
    zero[3] = 0
    assert "zeros" in doubts_about_vectors(zero)[0]
    broken = good.copy()
    broken[3, 3] = np.inf
    assert "not finite" in doubts_about_vectors(broken)[0]


def test_one_text_alone_has_no_neighbour() -> None:
    vectors = _random(13, 1)
    figures = vector_agreement(vectors, vectors, _cases(1)).figures
    assert figures["flip_rate_bound"] > 0.9
