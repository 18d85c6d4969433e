"""Runs a benchmark: starts every contestant in a process of its own and asks them in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from runtime.bench.contestants import Contestant
from runtime.bench.measured import Entry, Measured, burst, judge, prepare
from runtime.bench.plan import BenchPlan
from runtime.bench.process import WorkerError
from runtime.bench.schedule import Cell, rounds
from runtime.golden import Golden

Progress = Callable[[int, int], None]
Say = Callable[[str], None]

# A library's threads go on spinning for a moment after a run; the next contestant waits it out.
_PAUSE_SECONDS = 0.005


def run_threads(
    contestants: Sequence[Contestant],
    golden: Golden,
    plan: BenchPlan,
    cells: Sequence[Cell],
    threads: int,
    *,
    with_golden: bool,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _: None,
) -> list[Measured]:
    """Time every contestant at one number of threads; whoever fails is left behind, with a line.

    Args:
        contestants: names are unique.
        golden: for inputs and for the cases that are judged.
        plan: effort and patience.
        cells: sizes to time.
        threads: of each contestant's runtime.
        with_golden: whether the golden cases are run, too.
        progress: called with rounds done and in all.
        say: called with one line before something that takes time.

    Returns:
        One for each contestant, in their order.
    """
    results = [Measured(contestant, threads) for contestant in contestants]
    with ExitStack() as stack:
        plural = "" if threads == 1 else "s"
        say(f"loading {len(results)} models, {plan.loads} times each, {threads} thread{plural}")
        entries = _load(results, plan, stack)
        for entry in entries:
            _guard(entry, partial(prepare, entry, golden, plan, list(cells)))
        if with_golden:
            say(f"running {len(golden.cases)} golden cases through each")
            for entry in entries:
                if entry.measured.contestant.group in ("ours", "peer"):
                    _guard(entry, partial(judge, entry, golden, plan))
        _time(entries, plan, cells, threads, progress, say)
    return results


def _load(results: Sequence[Measured], plan: BenchPlan, stack: ExitStack) -> list[Entry]:
    """Load each model several times in turn; the workers of the last time stay."""
    entries = []
    rng = np.random.default_rng(plan.seed)
    for times_left in reversed(range(plan.loads)):
        for place in rng.permutation(len(results)):
            measured = results[place]
            if measured.failure:
                continue
            try:
                worker = measured.contestant.start(measured.threads)
                stack.callback(worker.close)
                hello = worker.hello(plan.patience)
            except WorkerError as error:
                measured.failure = str(error)
                continue
            measured.load_ms.append(hello["load_ns"] / 1e6)
            if times_left:
                worker.close()
                continue
            measured.environment = hello["environment"]
            measured.library_bytes = hello["library_bytes"]
            entries.append(Entry(measured, worker, hello["lengths"]))
    return entries


def _time(
    entries: Sequence[Entry],
    plan: BenchPlan,
    cells: Sequence[Cell],
    threads: int,
    progress: Progress,
    say: Say,
) -> None:
    """Rounds of bursts, every contestant in turn."""
    running = {entry.name: entry for entry in entries if not entry.measured.failure}
    pairs = [(e, cell) for e in running.values() for cell in e.estimate_ms]
    # Of each burst one run more than those that count.
    seconds = sum(
        e.estimate_ms[cell] * (plan.runs_of(e.estimate_ms[cell]) + 1) / 1e3 + _PAUSE_SECONDS
        for e, cell in pairs
    )
    count = plan.rounds_for(seconds)
    say(f"timing: {count} rounds of about {seconds:.1f} s")
    # Another order at another number of threads.
    schedule = rounds(list(running), cells, count, plan.seed + threads)
    for done, order in enumerate(schedule):
        for name, cell in order:
            entry = running[name]
            if cell not in entry.estimate_ms:
                continue
            time.sleep(_PAUSE_SECONDS)
            _guard(entry, partial(burst, entry, plan, cell))
        progress(done + 1, count)


def _guard(entry: Entry, step: Callable[[], None]) -> None:
    """A failing step ends this contestant's part and nobody else's."""
    if entry.measured.failure:
        return
    try:
        step()
    except WorkerError as error:
        entry.measured.failure = str(error)
        entry.worker.close()
