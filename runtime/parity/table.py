"""The verdict as a table for the terminal and for the card."""

from __future__ import annotations

import math

from rich.table import Table

from runtime.console import out
from runtime.golden import SETS
from runtime.parity.document import scope
from runtime.parity.gates import FIGURES, Check
from runtime.parity.judge import ArtifactReport, ParityReport

_COLUMNS = ("artifact", "verdict", "max abs", "SQNR dB", "flips", "at most (95%)")
_STYLE = {"pass": "green", "fail": "bold red", "unknown": "yellow"}


def columns(report: ParityReport) -> tuple[str, ...]:
    """Headings of the table; the machine is among them if there are several."""
    name, *others = _COLUMNS
    machine = ("machine",) if _several(report) else ()
    return (name, *machine, *others, report.metric)


def rows(report: ParityReport) -> list[tuple[str, ...]]:
    """One row of text per artifact and machine, in the order of `columns`."""
    several = _several(report)
    return [_row(artifact, several=several) for artifact in report.artifacts]


def _several(report: ParityReport) -> bool:
    return len({artifact.evidence.machine for artifact in report.artifacts}) > 1


def _row(artifact: ArtifactReport, *, several: bool) -> tuple[str, ...]:
    f = artifact.figures
    return (
        artifact.path,
        *((artifact.evidence.machine.name,) if several else ()),
        artifact.verdict.upper(),
        f"{f['max_abs']:.2e}",
        "∞" if math.isinf(f["sqnr_db"]) else f"{f['sqnr_db']:.1f}",
        f"{f['flips']:.0f} of {f['decisions']:.0f}"
        + (f" +{f['other_flips']:.0f}" if f["other_flips"] else ""),
        f"{f['flip_rate_bound']:.2%}",
        # 0.0 - x and not -x: no drop is +0.0000.
        f"{f['metric']:.4f} ({0.0 - f['metric_drop']:+.4f})",
    )


def cases_line(report: ParityReport) -> str:
    """``600 validation, 64 boundary and 80 awkward texts``."""
    parts = [f"{report.cases[name]} {name}" for name in SETS if report.cases.get(name)]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:]))) + " texts"


def terminal_table(report: ParityReport) -> Table:
    """The same as a rich table."""
    table = Table(
        title=(
            f"Parity with PyTorch float32 on {cases_line(report)} · reference {report.metric} "
            f"{report.reference_metric:.4f}"
        ),
        title_justify="left",
    )
    names = columns(report)
    verdict = names.index("verdict")
    for place, name in enumerate(names):
        if place <= verdict:  # names are long and must be read whole
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right")
    for artifact, row in zip(report.artifacts, rows(report), strict=True):
        style = _STYLE[artifact.verdict]
        table.add_row(*row[:verdict], f"[{style}]{row[verdict]}[/]", *row[verdict + 1 :])
    return table


def split_lines(report: ParityReport) -> list[str]:
    """Where each artifact's error comes from, as far as its runtime can tell; in logits."""
    lines = []
    for artifact in report.artifacts:
        f = artifact.figures
        if "graph_max_abs" in f:
            lines.append(
                f"{artifact.path}: compression {f['compression_max_abs']:.2e} + graph "
                f"{f['graph_max_abs']:.2e} + precision {f['precision_max_abs']:.2e} (max abs)"
            )
    return lines


def explanations(report: ParityReport) -> list[str]:
    """Why artifacts did not pass: failed checks with value and limit, doubts, wrong ids."""
    lines = [f"parity means nothing here: {doubt}" for doubt in report.reference_doubts]
    for artifact in report.artifacts:
        name = artifact.path
        if _several(report):
            name += f" on {artifact.evidence.machine.name}"
        lines += [f"{name}: {_complaint(check)}" for check in artifact.checks if not check.passed]
        for what, names in (
            ("other ids than the golden ones", artifact.evidence.wrong_ids),
            ("labels that do not follow from its logits", artifact.evidence.wrong_labels),
        ):
            if names:
                shown = ", ".join(names[:5])
                lines.append(f"{name}: {what} for {len(names)} texts: {shown}")
        lines += [f"{name}: {doubt}" for doubt in artifact.doubts]
    lines += report.contradictions
    if report.wrong_ids:
        shown = ", ".join(report.wrong_ids[:5])
        lines.append(f"the tokenizer gives other ids for {len(report.wrong_ids)} texts: {shown}")
    return lines


def _complaint(check: Check) -> str:
    if math.isnan(check.value):
        return f"{check.figure} is not a number"
    figure = FIGURES.get(check.figure)
    value = f"{check.value:.6g} {figure.unit if figure else ''}".rstrip()
    sign = "above" if check.bound == "max" else "below"
    line = f"{check.figure} is {value}, {sign} the limit {check.limit:g}"
    return f"{line}; unknown: {check.note}" if check.verdict == "unknown" else line


def print_details(report: ParityReport) -> None:
    """Everything below the table: parts of the error, reasons for the verdict, limitations."""
    for line in (*split_lines(report), *explanations(report), *scope(report)):
        out.print(f"  {line}", markup=False, soft_wrap=True)
