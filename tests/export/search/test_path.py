"""The greedy path against every other choice."""

from __future__ import annotations

import itertools
import random

import pytest

from export.search.path import Option, after, filled, noise_at, size_at, steps_of

Ladders = dict[str, list[Option]]


def _ladders(seed: int, weights: int = 5, rungs: int = 3) -> Ladders:
    rng = random.Random(seed)
    found: Ladders = {}
    for i in range(weights):
        size, noise, options = rng.uniform(50, 500), 0.0, []
        for _ in range(rungs):
            options.append(Option(size, noise))
            size *= rng.uniform(0.2, 0.8)
            noise += rng.expovariate(1.0)
        found[f"w{i}"] = options
    return found


def _all(ladders: Ladders) -> list[tuple[float, float]]:
    """Size and noise of every choice."""
    choices = itertools.product(*(range(len(options)) for options in ladders.values()))
    every = [dict(zip(ladders, rungs, strict=True)) for rungs in choices]
    return [(size_at(ladders, rungs), noise_at(ladders, rungs)) for rungs in every]


@pytest.mark.parametrize("seed", range(6))
def test_no_choice_of_the_same_size_is_better_than_one_on_the_path(seed: int) -> None:
    ladders = _ladders(seed)
    steps, every = steps_of(ladders), _all(ladders)
    assert len(steps) >= len(ladders)
    sizes = []
    for count in range(len(steps) + 1):
        rungs = after(ladders, steps, count)
        size, noise = size_at(ladders, rungs), noise_at(ladders, rungs)
        sizes.append(size)
        assert min(n for s, n in every if s <= size + 1e-9) >= noise - 1e-9
    assert sizes == sorted(sizes, reverse=True)
    assert after(ladders, steps, 0) == dict.fromkeys(ladders, 0)
    assert after(ladders, steps, len(steps)) == dict.fromkeys(ladders, 2)
    assert sum(step.saved for step in steps) == pytest.approx(sizes[0] - sizes[-1])


def test_a_dear_rung_in_between_is_left_out() -> None:
    ladders = {"w": [Option(100, 0.0), Option(90, 5.0), Option(20, 5.1)]}
    assert [step.rung for step in steps_of(ladders)] == [2]


def test_the_sensitive_weight_comes_last() -> None:
    plain = [Option(100, 0.0), Option(25, 0.001), Option(13, 0.01)]
    sensitive = [Option(100, 0.0), Option(25, 0.5), Option(13, 0.9)]
    order = [s.weight for s in steps_of({"a": plain, "sensitive": sensitive, "b": plain})]
    assert order == ["a", "b", "a", "b", "sensitive", "sensitive"]


@pytest.mark.parametrize("seed", range(4))
def test_room_is_used_and_never_exceeded(seed: int) -> None:
    ladders = _ladders(seed)
    rungs = dict.fromkeys(ladders, 2)
    before = size_at(ladders, rungs)
    for room in (0.0, 30.0, 200.0, 1e9):
        more = filled(ladders, rungs, room)
        assert size_at(ladders, more) <= before + room
        assert noise_at(ladders, more) <= noise_at(ladders, rungs)
    assert filled(ladders, rungs, 1e9) == dict.fromkeys(ladders, 0)
    assert filled(ladders, rungs, 0.0) == rungs
