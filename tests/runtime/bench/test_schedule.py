"""Who is asked when: everybody as often, side by side, in an order that is never the same."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from runtime.bench.plan import BenchPlan
from runtime.bench.schedule import Cell, cells_of, real_ids, rounds
from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.golden import read_golden

NAMES = ("a", "b", "c", "d")
CELLS = (Cell(1, 32), Cell(1, 128), Cell(16, 128))


def test_everybody_is_asked_once_a_round_at_every_size() -> None:
    for order in rounds(NAMES, CELLS, 20, seed=1):
        assert Counter(order) == {(name, cell): 1 for name in NAMES for cell in CELLS}


def test_contestants_of_one_size_are_neighbours_in_time() -> None:
    for order in rounds(NAMES, CELLS, 20, seed=1):
        cells = [cell for _, cell in order]
        changes = sum(a != b for a, b in itertools.pairwise(cells))
        assert changes == len(CELLS) - 1


def test_nobody_has_a_place_of_their_own() -> None:
    """A fixed order would let the same one always run on the hottest machine."""
    first = Counter(order[0][0] for order in rounds(NAMES, CELLS, 400, seed=2))
    assert set(first) == set(NAMES)
    assert max(first.values()) < 2 * min(first.values())
    after = Counter(
        (order[i][0], order[i + 1][0])
        for order in rounds(NAMES, CELLS[:1], 400, seed=2)
        for i in range(len(NAMES) - 1)
    )
    assert len(after) == len(NAMES) * (len(NAMES) - 1)


def test_the_order_follows_from_the_seed() -> None:
    assert list(rounds(NAMES, CELLS, 3, 5)) == list(rounds(NAMES, CELLS, 3, 5))
    assert list(rounds(NAMES, CELLS, 3, 5)) != list(rounds(NAMES, CELLS, 3, 6))


def test_the_large_batch_comes_at_the_models_own_length() -> None:
    assert cells_of((256, 32, 128), 1, 16, 128) == [
        Cell(1, 32), Cell(1, 128), Cell(1, 256), Cell(16, 128),
    ]  # fmt: skip
    assert cells_of((64,), 1, 0, 128) == [Cell(1, 64)]
    assert cells_of((256,), 1, 4, 128) == [Cell(1, 256), Cell(4, 256)]


def test_inputs_are_real_ids_without_padding(bundle: Bundle) -> None:
    golden = read_golden(bundle.file(GOLDEN))
    ids = real_ids(golden, Cell(4, 200))
    assert [len(row) for row in ids] == [200] * 4
    assert [i for row in ids for i in row][: len(golden.cases[0].input_ids)] == list(
        golden.cases[0].input_ids
    )
    # More than all texts together have: they begin again.
    many = real_ids(golden, Cell(64, 1000))
    assert sum(map(len, many)) == 64_000


@pytest.mark.parametrize(
    "plan", [BenchPlan(lengths=()), BenchPlan(lengths=(1,)), BenchPlan(threads=(0,)),
             BenchPlan(rounds=2)],
)  # fmt: skip
def test_impossible_plans_are_refused(plan: BenchPlan) -> None:
    with pytest.raises(UserError, match="--"):
        plan.check()


def test_rounds_follow_the_time_that_is_allowed() -> None:
    plan = BenchPlan(seconds=100.0, threads=(1, 2))
    assert plan.rounds_for(5.0) == 10
    assert plan.rounds_for(60.0) == 5  # never too few for an interval
    assert plan.rounds_for(0.0) == 200
    assert BenchPlan(rounds=9).rounds_for(60.0) == 9
    assert plan.runs_of(20.0) == 4
    assert plan.runs_of(1000.0) == 1
    assert plan.runs_of(0.0) == 40
