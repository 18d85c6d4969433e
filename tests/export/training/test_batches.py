from __future__ import annotations

import random
from itertools import chain

import pytest

from export.training.batches import EpochBatches

_CHANCE = random.Random(1)
LENGTHS = [_CHANCE.randint(3, 60) for _ in range(203)]


def passes(
    *, batch: int, grouped: bool = True, seed: int = 0, epoch: int = 0, **split: int
) -> list[list[int]]:
    lengths = LENGTHS if grouped else None
    batches = EpochBatches(len(LENGTHS), batch, lengths=lengths, seed=seed, **split)
    batches.start_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    return found


@pytest.mark.parametrize("grouped", [True, False])
def test_every_text_once_in_another_order_each_epoch(grouped: bool) -> None:
    first, second = (passes(batch=8, grouped=grouped, epoch=epoch) for epoch in (0, 1))
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(203))
    assert first != second
    assert passes(batch=8, grouped=grouped, epoch=1) == second
    assert passes(batch=8, grouped=grouped, seed=1) != first
    assert [len(batch) for batch in first] == [8] * 25 + [3]


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one(grouped: bool, processes: int) -> None:
    """Union over the ranks, pass by pass, is what one process takes with so large a batch."""
    alone = passes(batch=8 * processes, grouped=grouped)
    ranks = [
        passes(batch=8, grouped=grouped, processes=processes, rank=rank)
        for rank in range(processes)
    ]
    assert {len(rank) for rank in ranks} == {len(alone)}
    for whole, *parts in zip(alone, *ranks, strict=True):
        real = [index for part in parts for index in part if index < 203]
        assert real == whole
        assert all(parts), "no process sits out a pass"


def test_a_process_without_a_text_gets_one_without_a_target() -> None:
    """199 = 33 × 6 + 1: the last text is for one of three processes."""
    batches = [EpochBatches(199, 2, processes=3, rank=rank) for rank in range(3)]
    *_, last = zip(*batches, strict=True)
    (text,) = batches[0].order(0)[-1]
    assert last == ([text], [199 + text], [199 + text])


@pytest.mark.parametrize("grouped", [True, False])
def test_passes_of_a_step_are_the_step(grouped: bool) -> None:
    cut = passes(batch=4, grouped=grouped, accumulation=4)
    whole = passes(batch=16, grouped=grouped)
    joined = [list(chain(*cut[i : i + 4])) for i in range(0, len(cut), 4)]
    assert joined == whole


def test_grouping_leaves_less_padding_and_the_order_mixed() -> None:
    def padded(batches: list[list[int]]) -> int:
        return sum(max(LENGTHS[i] for i in b) * len(b) for b in batches) - sum(LENGTHS)

    grouped = passes(batch=8)
    assert padded(grouped) < 0.5 * padded(passes(batch=8, grouped=False))
    means = [sum(LENGTHS[i] for i in b) / len(b) for b in grouped]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_the_steps_of_an_epoch() -> None:
    assert EpochBatches(203, 8).steps == 26
    assert EpochBatches(203, 8, accumulation=2, processes=2).steps == 7
    assert len(EpochBatches(203, 8, accumulation=2, processes=2)) == 13
