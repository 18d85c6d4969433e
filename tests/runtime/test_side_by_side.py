"""Artifacts judged at a time: the same numbers, and no run that nobody waits for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from runtime import side_by_side
from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.errors import UserError
from runtime.golden import read_golden
from runtime.parity.document import parity_document, read_gates
from runtime.parity.judge import judge
from runtime.parity.run import in_all
from runtime.side_by_side import Running, Stopped, run_side_by_side


def test_results_come_in_the_order_of_the_items() -> None:
    def run(item: int, _: Running) -> int:
        time.sleep((5 - item) / 100)
        return item * item

    assert run_side_by_side(range(5), run, at_once=3) == [0, 1, 4, 9, 16]
    assert run_side_by_side([], run) == []


def test_as_many_run_at_a_time_as_were_asked_for() -> None:
    """Two meet at a barrier, which one by one would never do; a third does not come in."""
    barrier, inside, most = threading.Barrier(2, timeout=30), [0], [0]

    def run(_: int, running: Running) -> None:
        with running.lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        barrier.wait()
        with running.lock:
            inside[0] -= 1

    run_side_by_side(range(4), run, at_once=2)
    assert most == [2]


def test_one_item_runs_in_the_thread_that_asks() -> None:
    assert run_side_by_side(["x"], lambda *_: threading.current_thread()) == [
        threading.current_thread()
    ]


def test_the_first_failure_ends_the_others_and_is_told() -> None:
    stopped = threading.Event()

    def run(item: int, running: Running) -> None:
        if item == 1:
            raise UserError("the second is damaged")
        if item > 1:
            pytest.fail("began after the failure")
        try:
            while True:
                running.check()
                time.sleep(0.01)
        except Stopped:
            stopped.set()
            raise

    with pytest.raises(UserError, match="the second is damaged"):
        run_side_by_side(range(3), run, at_once=2)
    assert stopped.is_set()


def test_ctrl_c_ends_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting thread is interrupted; the others hear of it at their next look."""
    heard = threading.Semaphore(0)

    def run(_: int, running: Running) -> None:
        try:
            while True:
                running.check()
                time.sleep(0.01)
        finally:
            heard.release()

    class Interrupted(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            del timeout
            raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side.threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(range(2), run, at_once=2)
    assert heard.acquire(timeout=30)
    assert heard.acquire(timeout=30)


def test_numpys_threads_are_as_before_afterwards() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]

    before = threads()
    inside = run_side_by_side(range(2), lambda *_: threads(), at_once=2)
    assert all(count == 1 for found in inside for count in found)
    assert threads() == before


def test_the_judgement_is_the_same_to_the_last_bit(
    bundle: Bundle, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden, gates = read_golden(bundle_folder / GOLDEN), read_gates(bundle.path / PARITY)
    reports = []
    for cores in (1, 3):
        monkeypatch.setattr(side_by_side, "usable_cores", lambda cores=cores: cores)
        reports.append(judge(bundle, golden, gates))
    one, three = reports
    assert len(one.artifacts) > 1
    assert parity_document(one) == parity_document(three)
    for alone, beside in zip(one.artifacts, three.artifacts, strict=True):
        assert np.array_equal(alone.logits, beside.logits)


def test_progress_of_all_is_the_sum() -> None:
    told: list[tuple[int, int]] = []
    tell = in_all(lambda *step: told.append(step), 2)
    for step in (("a", 1, 5), ("b", 3, 5), ("a", 5, 5), ("b", 5, 5)):
        tell(*step)
    assert told == [(1, 10), (4, 10), (8, 10), (10, 10)]
