"""What a run writes down about one contestant, and the steps that fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.bench.accuracy import Logits, as_logits, sequences_of
from runtime.bench.contestants import Contestant
from runtime.bench.plan import BenchPlan
from runtime.bench.process import Worker, WorkerError
from runtime.bench.schedule import Cell, real_ids
from runtime.golden import Golden

_SEQUENCES_AT_A_TIME = 64


@dataclass(slots=True)
class Measured:
    """One contestant at one number of threads.

    Attributes:
        contestant, threads: who and how.
        environment: runtime and version, as the worker tells.
        load_ms: what opening the model took, in each sitting; its file was in the page cache.
        library_bytes: memory of the first process before the model was opened.
        peak_bytes: its peak since then, after a run of every length at the small batch.
        rounds: cell → milliseconds of each run, round by round.
        processor: cell → processor time of a run, all threads together, round by round.
        left_out: cell → why it was not timed.
        logits: of the golden cases; None where they were not asked for.
        drift: largest change of a timed run's logits from the first one's, absolute.
        non_finite: whether a timed run gave NaN or infinity.
        failure: one line, once the worker died, fell silent or could not go on.
    """

    contestant: Contestant
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    load_ms: list[float] = field(default_factory=list)
    library_bytes: int = 0
    peak_bytes: int = 0
    rounds: dict[Cell, list[list[float]]] = field(default_factory=dict)
    processor: dict[Cell, list[float]] = field(default_factory=dict)
    left_out: dict[Cell, str] = field(default_factory=dict)
    logits: Logits | None = None
    drift: float = 0.0
    non_finite: bool = False
    failure: str = ""


@dataclass(slots=True)
class Entry:
    """A contestant whose worker runs.

    Attributes:
        measured: filled in by the functions of this module.
        worker: its process.
        lengths: that its file has; None where any runs.
        estimate_ms: cell → what a run took before the rounds began.
        first: cell → logits of that run.
    """

    measured: Measured
    worker: Worker
    lengths: list[int] | None = None
    estimate_ms: dict[Cell, float] = field(default_factory=dict)
    first: dict[Cell, Logits] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.measured.contestant.name


def prepare(entry: Entry, golden: Golden, plan: BenchPlan, cells: list[Cell]) -> None:
    """Hand over the inputs, run each once, and note the peak of memory before the large batch.

    Raises:
        WorkerError: the worker died or fell silent; a size that it refuses is only left out.
    """
    limited = entry.measured.contestant.group == "limit"
    for small in (True, False):
        for cell in cells:
            if (cell.batch == plan.batch) is not small:
                continue
            if limited and not small:
                entry.measured.left_out[cell] = "a product has no batch"
            elif entry.lengths and cell.length > entry.lengths[-1]:
                entry.measured.left_out[cell] = f"the file ends at length {entry.lengths[-1]}"
            else:
                _feed(entry, golden, plan, cell)
        if small and not entry.measured.peak_bytes:
            memory = entry.worker.ask({"do": "memory"}, plan.patience)
            entry.measured.peak_bytes = memory["peak_bytes"]


def judge(entry: Entry, golden: Golden, plan: BenchPlan) -> None:
    """Logits of the golden cases, one at a time and unpadded, as the reference's were made.

    Raises:
        WorkerError: the worker failed, or its logits have another shape than the reference's.
    """
    sequences = sequences_of(golden)
    rows: list[list[float]] = []
    for start in range(0, len(sequences), _SEQUENCES_AT_A_TIME):
        part = sequences[start : start + _SEQUENCES_AT_A_TIME]
        answer = entry.worker.ask({"do": "logits", "sequences": part}, plan.patience)
        rows += answer["logits"]
    try:
        entry.measured.logits = as_logits(rows, golden)
    except ValueError as error:
        raise WorkerError(f"{entry.name} gave unusable answers", why=str(error)) from error


def burst(entry: Entry, plan: BenchPlan, cell: Cell) -> None:
    """Time some runs one after the other; also looks at the logits they gave.

    Raises:
        WorkerError: the worker failed.
    """
    runs = plan.runs_of(entry.estimate_ms[cell])
    taken, processor = _ask(entry, plan, cell, runs)
    entry.measured.rounds.setdefault(cell, []).append(taken)
    entry.measured.processor.setdefault(cell, []).append(processor)


def _feed(entry: Entry, golden: Golden, plan: BenchPlan, cell: Cell) -> None:
    request = {"do": "feed", "key": cell.key, "ids": real_ids(golden, cell)}
    try:
        entry.worker.ask(request, plan.patience)
        _ask(entry, plan, cell, 1)  # the first run of a shape may plan and allocate
        entry.estimate_ms[cell] = _ask(entry, plan, cell, 1)[0][0]
    except WorkerError as error:
        if not entry.worker.alive:
            raise
        entry.measured.left_out[cell] = error.why or error.what


def _ask(entry: Entry, plan: BenchPlan, cell: Cell, runs: int) -> tuple[list[float], float]:
    """Milliseconds of each run, and of the processor for one."""
    request: dict[str, Any] = {"do": "burst", "key": cell.key, "runs": runs}
    answer = entry.worker.ask(request, plan.patience)
    logits = np.array(answer["logits"], dtype=np.float32)
    first = entry.first.setdefault(cell, logits)
    if not np.isfinite(logits).all():
        entry.measured.non_finite = True
    elif np.isfinite(first).all():
        drift = float(np.abs(logits - first).max())
        entry.measured.drift = max(entry.measured.drift, drift)
    return [ns / 1e6 for ns in answer["ns"]], answer["cpu_ns"] / 1e6 / runs
