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


def run_threads(
    contestants: Sequence[Contestant],
    goldens: Sequence[Golden],
    plan: BenchPlan,
    cells: Sequence[Cell],
    threads: int,
    *,
    with_golden: bool,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _: None,
) -> list[Measured]:
    """Time every contestant at one number of threads; whoever fails is left behind, with a line.

    The rounds are shared out over several sittings. In each everyone starts anew, because where a
    process happens to get its memory moves its times by a few percent for as long as it lives.

    Args:
        contestants: names are unique.
        goldens: of each bundle, for inputs and for the cases that are judged.
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
    rng = np.random.default_rng(plan.seed)
    count = 0
    where = f"{threads} thread{'' if threads == 1 else 's'}, sitting"
    for sitting in range(plan.sittings):
        say(f"{where} {sitting + 1} of {plan.sittings}: opening {len(results)} models")
        with ExitStack() as stack:
            entries = _open([results[i] for i in rng.permutation(len(results))], plan, stack)
            for entry in entries:
                golden = goldens[entry.measured.contestant.place]
                _guard(entry, partial(prepare, entry, golden, plan, list(cells)))
                if with_golden and not sitting and entry.measured.contestant.is_judged:
                    _guard(entry, partial(judge, entry, golden, plan))
            if not sitting:
                seconds = _round_seconds(entries, plan, threads)
                count = plan.rounds_for(seconds)
                say(f"timing: {count} rounds of about {seconds:.1f} s")
            mine = range(count * sitting // plan.sittings, count * (sitting + 1) // plan.sittings)
            _time(entries, plan, cells, threads, mine, lambda done: progress(done, count))  # noqa: B023
    return results


def _open(results: Sequence[Measured], plan: BenchPlan, stack: ExitStack) -> list[Entry]:
    """Start a worker for whoever has not failed yet."""
    entries = []
    for measured in results:
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
        measured.environment = hello["environment"]
        measured.library_bytes = measured.library_bytes or hello["library_bytes"]
        entries.append(Entry(measured, worker, hello["lengths"]))
    return entries


def _round_seconds(entries: Sequence[Entry], plan: BenchPlan, threads: int) -> float:
    """What a round will take; of each burst one run more than those that count."""
    return sum(
        ms * (plan.runs_of(ms) + 1) / 1e3 + plan.pause_seconds(threads)
        for entry in entries
        if not entry.measured.failure
        for ms in entry.estimate_ms.values()
    )


def _time(
    entries: Sequence[Entry],
    plan: BenchPlan,
    cells: Sequence[Cell],
    threads: int,
    numbers: range,
    progress: Callable[[int], None],
) -> None:
    """Rounds of bursts, every contestant in turn."""
    running = {entry.name: entry for entry in entries if not entry.measured.failure}
    # Another order in every sitting and at another number of threads.
    seed = plan.seed + 1000 * threads + numbers.start
    schedule = rounds(sorted(running), cells, len(numbers), seed)
    for number, order in zip(numbers, schedule, strict=True):
        for name, cell in order:
            entry = running[name]
            if cell not in entry.estimate_ms:
                continue
            time.sleep(plan.pause_seconds(threads))
            _guard(entry, partial(burst, entry, plan, cell))
        progress(number + 1)


def _guard(entry: Entry, step: Callable[[], None]) -> None:
    """A failing step ends this contestant's part and nobody else's."""
    if entry.measured.failure:
        return
    try:
        step()
    except WorkerError as error:
        entry.measured.failure = str(error)
        entry.worker.close()
