"""A report for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich.table import Table

from runtime.bench.machine import BenchMachine
from runtime.bench.report import BenchReport, CellFigures, Row
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio
from runtime.console import megabytes, out

_WHY = 110
_STYLE = {"ours": "bold", "peer": "", "limit": "dim", "again": "dim"}


def print_report(report: BenchReport) -> None:
    """Speed at each number of threads, then what each model costs and how well it agrees."""
    out.print(machine_line(report.machine), markup=False, soft_wrap=True)
    for threads in report.plan.threads:
        out.print(speed_table(report, threads))
        for line in limit_lines(report, threads):
            out.print(f"  {line}", markup=False, soft_wrap=True)
    out.print(cost_table(report))
    out.print(agreement_table(report))
    for line in runtime_lines(report):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    for line in (*duel_lines(report), *notes_of(report)):
        out.print(f"  {line}", markup=False, soft_wrap=True)


def machine_line(machine: BenchMachine) -> str:
    """The machine in one line."""
    kind = ", virtual" if machine.virtual else ""
    parts = [
        f"{machine.processor} ({machine.architecture}{kind}, {machine.cores} cores)",
        ", ".join(machine.features) or "no known features",
        f"governor {machine.governor}",
        f"load {machine.load:.2f}",
    ]
    return " · ".join(parts)


def cell_name(cell: Cell, usual_batch: int) -> str:
    """Such as ``128``, or ``16×128`` for another batch."""
    return str(cell.length) if cell.batch == usual_batch else f"{cell.batch}×{cell.length}"


def speed_table(report: BenchReport, threads: int) -> Table:
    """Median milliseconds with the spread, ratio to the baseline and times the limit."""
    plural = "" if threads == 1 else "s"
    table = Table(
        title=f"{threads} thread{plural}, batch {report.plan.batch}: ms by length in ids · median, "
        f"p10–p90, times {report.baseline} (≈ within the noise)",
        title_justify="left",
    )
    table.add_column("model", overflow="fold")
    for cell in report.cells:
        table.add_column(cell_name(cell, report.plan.batch), justify="right", no_wrap=True)
    table.add_column(f"× limit at {report.headline.length}", justify="right")
    for row in sorted(report.at(threads), key=lambda row: _median(row, report.headline)):
        own = row.contestant.name == report.baseline
        noise = report.noise[threads]
        cells = [_cell(row.cells.get(cell), noise, baseline=own) for cell in report.cells]
        head = row.cells.get(report.headline)
        times = head.times_bound if head else math.nan
        table.add_row(
            row.contestant.name,
            *cells,
            "–" if math.isnan(times) else f"{times:.2f}",
            style=_STYLE[row.contestant.group],
        )
    return table


def _cell(found: CellFigures | None, noise: float, *, baseline: bool) -> str:
    if found is None:
        return "–"
    t = found.timing
    ratio = ""
    if found.ratio is not None and not baseline:
        ratio = f" {ratio_words(found.ratio, noise)}"
    return f"{milliseconds(t.median)}{ratio}\n{milliseconds(t.p10)}–{milliseconds(t.p90)}"


def ratio_words(ratio: Ratio, noise: float) -> str:
    """Such as ``0.78×``; with ``≈`` before it where the noise could be all of the difference."""
    return f"{'≈' if abs(ratio.value - 1) <= noise else ''}{ratio.value:.2f}×"


def milliseconds(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def limit_lines(report: BenchReport, threads: int) -> Iterable[str]:
    """What the limit is made of, and how noisy the run was."""
    peaks = report.peaks.get(threads, {})
    if peaks:
        rates = ", ".join(
            f"{kind} {peak.rate / 1e9:,.0f} GFLOPS ({peak.shape})" for kind, peak in peaks.items()
        )
        line = f"limit: products measured in this run reach {rates}"
        if report.headline.length in report.work:
            needed, whole = report.work[report.headline.length]
            line += (
                f"; an answer at length {report.headline.length} needs {needed.total / 1e9:.3g} "
                f"GFLOP ({whole.total / 1e9:.3g} with all of the last block)"
            )
        yield line
    yield (
        f"noise: {report.baseline} differs from itself by up to {report.noise[threads]:.1%} in "
        f"time and {report.processor_noise[threads]:.1%} in processor time; smaller differences "
        "mean nothing"
    )


def cost_table(report: BenchReport) -> Table:
    """Size, load and memory."""
    table = Table(title="What each costs", title_justify="left")
    table.add_column("model", overflow="fold")
    for name in ("size", "load ms", "peak MB (of it the model)"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.at(report.plan.threads[0]):
        table.add_row(
            row.contestant.name,
            megabytes(row.contestant.bytes),
            milliseconds(row.load_ms) if not math.isnan(row.load_ms) else "–",
            f"{row.peak_bytes / 1e6:.0f} ({row.model_bytes / 1e6:.0f})" if row.peak_bytes else "–",
            style=_STYLE[row.contestant.group],
        )
    return table


def agreement_table(report: BenchReport) -> Table:
    """Flips with their bound, the largest error, and the task's metric."""
    whose = f" and with {report.first}" if report.several else ""
    table = Table(title=f"How each agrees with PyTorch{whose}", title_justify="left")
    table.add_column("model", overflow="fold")
    names = ["flips", "at most", "max rel"] + (["flips vs first"] if report.several else [])
    for name in (*names, report.metric.replace("_", " ") or "metric"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.at(report.plan.threads[0]):
        table.add_row(
            row.contestant.name,
            *_agreement(row),
            *([flips_words(row.against_first)] if report.several else []),
            metric_words(row.figures),
            style=_STYLE[row.contestant.group],
        )
    return table


def runtime_lines(report: BenchReport) -> list[str]:
    """Which runtime, in which version, ran whom."""
    ran: dict[str, list[str]] = {}
    for row in report.at(report.plan.threads[0]):
        if runtime := row.environment.get("runtime"):
            name = f"{runtime} {row.environment.get('version', '')}".strip()
            ran.setdefault(name, []).append(row.contestant.name)
    return [f"{name} ran {', '.join(models)}" for name, models in ran.items()]


def duel_lines(report: BenchReport) -> list[str]:
    """Our artifacts against peers of their own format, at the headline size and others alike."""
    lines = []
    for duel in report.duels:
        if duel.cell != report.headline:
            continue
        elsewhere = ", ".join(
            f"{other.ratio.value:.2f} at {other.cell.length}"
            for other in report.duels
            if (other.own, other.rival, other.threads) == (duel.own, duel.rival, duel.threads)
            and other.cell.batch == duel.cell.batch
            and other.cell != duel.cell
        )
        threads = f"{duel.threads} thread{'' if duel.threads == 1 else 's'}"
        lines.append(f"{threads}: {duel.line()}" + (f"; {elsewhere}" if elsewhere else ""))
    return lines


def _agreement(row: Row) -> tuple[str, str, str]:
    f = row.figures
    if not f:
        return ("–", "–", "–")
    return flips_words(f), f"{f['flip_rate_bound']:.2%}", f"{f['max_rel']:.1e}"


def flips_words(figures: Mapping[str, float]) -> str:
    """Such as ``2 of 600 +3``: over natural texts, and over generated and awkward ones."""
    if not figures:
        return "–"
    other = f" +{figures['other_flips']:.0f}" if figures.get("other_flips") else ""
    return f"{figures['flips']:.0f} of {figures['decisions']:.0f}{other}"


def metric_words(figures: Mapping[str, float]) -> str:
    """The task's metric on labelled texts."""
    metric = figures.get("metric", math.nan)
    return "–" if math.isnan(metric) else f"{metric:.3f}"


def notes_of(report: BenchReport) -> list[str]:
    """Failures, sizes that were left out, skipped peers and doubts, as sentences."""
    lines = []
    for row in report.rows:
        who = f"{row.contestant.name} with {row.threads} thread(s)"
        if row.failure:
            lines.append(f"FAILED: {who}: {row.failure}")
        if row.threads == report.plan.threads[0]:
            lines += [f"{row.contestant.name}: {note}" for note in row.notes]
            by_reason: dict[str, list[str]] = {}
            for cell, why in row.left_out.items():
                by_reason.setdefault(why, []).append(cell_name(cell, report.plan.batch))
            if row.contestant.group != "again":
                lines += [
                    f"{row.contestant.name}: not timed at {', '.join(sizes)}: {_shortened(why)}"
                    for why, sizes in by_reason.items()
                ]
    lines += [f"no {name}: {why}" for name, why in report.skipped.items()]
    lines += [f"doubt: {warning}" for warning in report.warnings]
    return lines


def _shortened(why: str) -> str:
    """Runtimes' own words can fill a page; the JSON has all of them."""
    return why if len(why) <= _WHY else f"{why[: _WHY - 1].rstrip()}…"


def _median(row: Row, cell: Cell) -> float:
    found = row.cells.get(cell)
    return found.timing.median if found else math.inf
