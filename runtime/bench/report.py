"""From what was measured to what is reported: medians, ratios, limits, parity, and their doubts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.bench.contestants import AGAIN, Contestant
from runtime.bench.duels import Duel, cost_ratio, duels_of
from runtime.bench.flops import Architecture, Work
from runtime.bench.limit import Peak, bound_ms, peaks_of
from runtime.bench.lineup import Lineup
from runtime.bench.machine import BUSY, BenchMachine
from runtime.bench.measured import Measured
from runtime.bench.plan import BenchPlan
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio, Timing, noise_of, ratio_of, timing_of
from runtime.parity.metrics import task_metric_name

# The baseline against itself may differ by this much before the whole run is doubtful.
NOISY = 0.05


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One contestant at one size and one number of threads.

    Attributes:
        timing: of all runs, milliseconds.
        ratio: to the baseline; None without one.
        processor_ms: median of what a run costs the processor, all threads together; on a machine
            that others use it moves less than the time.
        processor_ratio: of that, to the baseline's.
        bound_ms: what the products that the answer needs take at the machine's peak; NaN if not
            known.
        whole_bound_ms: the same for every position of every block.
    """

    timing: Timing
    ratio: Ratio | None
    processor_ms: float
    processor_ratio: Ratio | None
    bound_ms: float
    whole_bound_ms: float

    @property
    def times_bound(self) -> float:
        """How many times what the machine could do; NaN if not known."""
        return self.timing.median / self.bound_ms


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant at one number of threads.

    Attributes:
        bundle: label of the one that it is from or made from.
        load_ms: median over the loads; NaN if it never loaded.
        model_bytes: peak of memory above what the interpreter and its libraries had.
        figures: of parity with its own bundle's reference, from this run's logits; empty where
            nothing was judged.
        against_first: the same with the first bundle's reference, over the texts that all bundles
            have; of the first bundle alone that is all of them.
        notes: what a reader must know beside the figures.
        failure: why there is no more; empty if all went well.
    """

    contestant: Contestant
    bundle: str
    threads: int
    environment: Mapping[str, str]
    load_ms: float
    peak_bytes: int
    model_bytes: int
    cells: Mapping[Cell, CellFigures]
    left_out: Mapping[Cell, str]
    figures: Mapping[str, float]
    against_first: Mapping[str, float]
    notes: tuple[str, ...]
    failure: str


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a bundle is called and was made from."""

    label: str
    name: str
    source_sha256: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """A whole run.

    Attributes:
        bundles: label, name and SHA-256 of the weights of each; peers are made from the first's.
        metric: name of what `figures` calls ``metric``, such as ``accuracy``; empty for vectors.
        machine: where it ran.
        plan: what was asked for.
        cells: sizes, in the order of the table.
        headline: the size at which models are compared in a word.
        baseline: name of the contestant that ratios are to.
        rows: contestants, at each number of threads.
        noise: threads → how far the baseline seems to differ from itself, as a share.
        processor_noise: the same of processor time.
        peaks: threads → precision → the highest rate of a product.
        work: length → products of one text with the first bundle's model: (needed, whole).
        duels: our artifacts against peers of their format, at every size.
        skipped: peer → why it was not there.
        warnings: reasons to doubt the figures.
    """

    bundles: tuple[BundleFacts, ...]
    metric: str
    machine: BenchMachine
    plan: BenchPlan
    cells: tuple[Cell, ...]
    headline: Cell
    baseline: str
    rows: tuple[Row, ...]
    noise: Mapping[int, float]
    processor_noise: Mapping[int, float]
    peaks: Mapping[int, Mapping[str, Peak]]
    work: Mapping[int, tuple[Work, Work]]
    duels: tuple[Duel, ...]
    skipped: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether there is more than one bundle."""
        return len(self.bundles) > 1

    @property
    def first(self) -> str:
        """Label of the bundle that the others are held against."""
        return self.bundles[0].label

    def at(self, threads: int) -> tuple[Row, ...]:
        """Rows of one number of threads, without the baseline's second process."""
        return tuple(r for r in self.rows if r.threads == threads and r.contestant.group != "again")


def assemble(
    lineup: Lineup,
    plan: BenchPlan,
    machine: BenchMachine,
    measured: Sequence[Measured],
    *,
    cells: Sequence[Cell],
    baseline: str,
    skipped: Mapping[str, str],
) -> BenchReport:
    """Everything that a report says.

    Args:
        lineup: the bundles with their references.
        plan: of the run.
        machine: as it was before the run.
        measured: of all numbers of threads.
        cells: that were asked for.
        baseline: name of a contestant.
        skipped: peer → why it was left out.
    """
    task = lineup.first.manifest.task
    judged = {m.contestant.name: m for m in measured if m.logits is not None}
    figures = {name: _own_figures(lineup, m) for name, m in judged.items()}
    against = {name: _against_first(lineup, m) for name, m in judged.items()}
    peaks: dict[int, Mapping[str, Peak]] = {}
    rows: list[Row] = []
    for threads in plan.threads:
        own = [m for m in measured if m.threads == threads]
        peaks[threads] = peaks_of(lineup.shapes, _product_medians(own))
        base = next((m for m in own if m.contestant.name == baseline), None)
        for m in own:
            if m.contestant.group == "limit":
                continue
            member = lineup.members[m.contestant.place]
            found = _cells(m, base, member.architecture, peaks[threads], plan.seed)
            name = m.contestant.name.removesuffix(AGAIN)
            rows.append(_row(m, member.label, found, figures.get(name, {}), against.get(name, {})))
    noise = _noise(rows, plan.threads, lambda found: found.ratio)
    processor_noise = _noise(rows, plan.threads, lambda found: found.processor_ratio)
    longest = lineup.first.manifest.tokenizer.max_length
    architecture = lineup.first.architecture
    small = [cell for cell in cells if cell.batch == plan.batch]
    headline = max([c for c in small if c.length <= longest] or small[:1])
    return BenchReport(
        bundles=tuple(
            BundleFacts(m.label, m.manifest.name, m.manifest.source.sha256) for m in lineup.members
        ),
        metric="" if task.gives_vectors else task_metric_name(task),
        machine=machine,
        plan=plan,
        cells=tuple(cells),
        headline=headline,
        baseline=baseline,
        rows=tuple(rows),
        noise=noise,
        processor_noise=processor_noise,
        peaks=peaks,
        work={}
        if isinstance(architecture, str)
        else {n: (architecture.needed(n), architecture.whole(n)) for n in plan.lengths},
        duels=duels_of(measured, against, seed=plan.seed),
        skipped=dict(skipped),
        warnings=(
            *_warnings(machine, noise, rows),
            *_limit_warnings(lineup, peaks),
            *lineup.doubts(),
        ),
    )


def _noise(
    rows: Sequence[Row], threads: Sequence[int], pick: Callable[[CellFigures], Ratio | None]
) -> dict[int, float]:
    again = [row for row in rows if row.contestant.group == "again"]
    return {
        count: noise_of(
            [r for row in again if row.threads == count for r in map(pick, row.cells.values()) if r]
        )
        for count in threads
    }


def _product_medians(measured: Sequence[Measured]) -> dict[tuple[str, int], float]:
    return {
        (m.contestant.name, cell.length): timing_of(taken).median
        for m in measured
        if m.contestant.group == "limit"
        for cell, taken in m.rounds.items()
    }


def _cells(
    own: Measured,
    base: Measured | None,
    architecture: Architecture | str,
    peaks: Mapping[str, Peak],
    seed: int,
) -> dict[Cell, CellFigures]:
    found = {}
    for cell, taken in sorted(own.rounds.items()):
        # One that failed on the way has fewer rounds; the first ones belong together.
        other = base.rounds.get(cell, []) if base else []
        common = min(len(taken), len(other))
        ratio = ratio_of(taken[:common], other[:common], seed=seed) if common else None
        cost = own.processor.get(cell, [])[:common]
        base_cost = base.processor.get(cell, [])[:common] if base else []
        bounds = (math.nan, math.nan)
        if not isinstance(architecture, str):
            precision = own.contestant.precision
            needed = architecture.needed(cell.length, cell.batch)
            whole = architecture.whole(cell.length, cell.batch)
            bounds = bound_ms(needed, precision, peaks), bound_ms(whole, precision, peaks)
        found[cell] = CellFigures(
            timing_of(taken),
            ratio,
            float(np.median(own.processor[cell])),
            cost_ratio(cost, base_cost, seed=seed),
            *bounds,
        )
    return found


def _own_figures(lineup: Lineup, measured: Measured) -> dict[str, float]:
    if measured.logits is None:
        return {}
    return lineup.members[measured.contestant.place].figures(measured.logits)


def _against_first(lineup: Lineup, measured: Measured) -> dict[str, float]:
    if measured.logits is None:
        return {}
    return lineup.against_first(measured.contestant.place, measured.logits)


def _row(
    own: Measured,
    bundle: str,
    cells: Mapping[Cell, CellFigures],
    figures: Mapping[str, float],
    against_first: Mapping[str, float],
) -> Row:
    notes = [own.contestant.note] if own.contestant.note else []
    if own.non_finite or figures.get("non_finite"):
        notes.append("gave NaN or infinity: its times mean nothing")
    if own.drift > 0:
        notes.append(f"the same ids gave logits that differ by up to {own.drift:.2g}")
    return Row(
        contestant=own.contestant,
        bundle=bundle,
        threads=own.threads,
        environment=own.environment,
        load_ms=float(np.median(own.load_ms)) if own.load_ms else math.nan,
        peak_bytes=own.peak_bytes,
        model_bytes=max(own.peak_bytes - own.library_bytes, 0),
        cells=cells,
        left_out=own.left_out,
        figures=figures,
        against_first=against_first,
        notes=tuple(notes),
        failure=own.failure,
    )


def _warnings(
    machine: BenchMachine,
    noise: Mapping[int, float],
    rows: Sequence[Row],
) -> list[str]:
    found = []
    if machine.is_busy:
        found.append(
            f"others used {machine.busy_share:.0%} of the machine just before the run (more than "
            f"{BUSY:.0%}): compare within this run only, and run it again when it is idle"
        )
    for threads, share in noise.items():
        if share > NOISY:
            found.append(
                f"with {threads} thread(s) the baseline differs from itself by up to {share:.1%}: "
                "smaller differences mean nothing here"
            )
    if any(count > machine.cores for count in noise):
        found.append(f"more threads were asked for than the {machine.cores} cores there are")
    versions: dict[str, set[str]] = {}
    for row in rows:
        if runtime := row.environment.get("runtime"):
            versions.setdefault(runtime, set()).add(row.environment.get("version", ""))
    found += [
        f"{runtime} ran in the versions {', '.join(sorted(several))}: such rows differ by the "
        "runtime, too"
        for runtime, several in sorted(versions.items())
        if len(several) > 1
    ]
    return found


def _limit_warnings(lineup: Lineup, peaks: Mapping[int, Mapping[str, Peak]]) -> list[str]:
    found = [
        f"no limit of the machine{f' for {member.label}' if lineup.several else ''}: "
        f"{member.architecture}"
        for member in lineup.members
        if isinstance(member.architecture, str)
    ]
    if lineup.shapes and not all(peaks.values()):
        found.append("no limit of the machine: no product could be timed (is onnxruntime here?)")
    return found
