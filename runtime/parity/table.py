"""The verdict as a table for the terminal and for the card."""

from __future__ import annotations

import math

from rich.table import Table

from runtime.console import out
from runtime.parity.gates import FIGURES
from runtime.parity.judge import ArtifactReport, ParityReport

COLUMNS = ("artifact", "verdict", "max abs", "p99 abs", "cosine", "SQNR dB", "flips", "metric")
_STYLE = {"pass": "green", "fail": "bold red", "unknown": "yellow"}


def rows(report: ParityReport) -> list[tuple[str, ...]]:
    """One row of text per artifact, in the order of `COLUMNS`."""
    return [_row(artifact) for artifact in report.artifacts]


def _row(artifact: ArtifactReport) -> tuple[str, ...]:
    f = artifact.figures
    return (
        artifact.path,
        artifact.verdict.upper(),
        f"{f['max_abs']:.2e}",
        f"{f['p99_abs']:.2e}",
        f"{f['cosine']:.6f}",
        "∞" if math.isinf(f["sqnr_db"]) else f"{f['sqnr_db']:.1f}",
        f"{f['flips']:.0f} of {f['decisions']:.0f}"
        + (f" +{f['awkward_flips']:.0f}" if f["awkward_flips"] else ""),
        # 0.0 - x and not -x: no drop is +0.0000.
        f"{f['metric']:.4f} ({0.0 - f['metric_drop']:+.4f})",
    )


def terminal_table(report: ParityReport) -> Table:
    """The same as a rich table."""
    table = Table(
        title=(
            f"Parity with PyTorch float32 on {report.validation_cases} validation and "
            f"{report.awkward_cases} awkward texts · reference {report.metric} "
            f"{report.reference_metric:.4f}"
        ),
        title_justify="left",
    )
    for column in COLUMNS:
        name = report.metric if column == "metric" else column
        if column in COLUMNS[:2]:  # names are long and must be read whole
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right")
    for artifact, row in zip(report.artifacts, rows(report), strict=True):
        style = _STYLE[artifact.verdict]
        table.add_row(row[0], f"[{style}]{row[1]}[/]", *row[2:])
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


def limitations(report: ParityReport) -> list[str]:
    """What the runtimes that judged cannot certify, where they say so."""
    environments = [artifact.environment for artifact in report.artifacts]
    return list(dict.fromkeys(e["leaves_open"] for e in environments if "leaves_open" in e))


def explanations(report: ParityReport) -> list[str]:
    """Why artifacts did not pass: failed checks with value and limit, doubts, wrong ids."""
    lines = [f"parity means nothing here: {doubt}" for doubt in report.reference_doubts]
    for artifact in report.artifacts:
        for check in artifact.checks:
            if not check.passed:
                unit = FIGURES[check.figure].unit if check.figure in FIGURES else ""
                sign = "above" if check.bound == "max" else "below"
                value = f"{check.value:.6g} {unit}".rstrip()
                lines.append(
                    f"{artifact.path}: {check.figure} is {value}, {sign} the limit {check.limit:g}"
                    if not math.isnan(check.value)
                    else f"{artifact.path}: {check.figure} is not a number"
                )
        lines += [f"{artifact.path}: {doubt}" for doubt in artifact.doubts]
    if report.wrong_ids:
        shown = ", ".join(report.wrong_ids[:5])
        lines.append(f"the tokenizer gives other ids for {len(report.wrong_ids)} texts: {shown}")
    return lines


def print_details(report: ParityReport) -> None:
    """Everything below the table: parts of the error, reasons for the verdict, limitations."""
    for line in (*split_lines(report), *explanations(report), *limitations(report)):
        out.print(f"  {line}", markup=False, soft_wrap=True)
