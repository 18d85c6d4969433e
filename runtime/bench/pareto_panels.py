"""The Pareto fronts of a report: one panel for each number of threads and length, chosen by hand.

The choice is made with radio buttons and CSS, because the page runs no script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from runtime.bench.pareto import By, Point, front_of, pareto_plot, points_of
from runtime.bench.report import BenchReport
from runtime.bench.schedule import Cell
from runtime.bench.table import cell_name, milliseconds
from runtime.parity.report.markup import Html, element
from runtime.parity.report.tables import scrolled, table

STYLE = """
.choice > input { position: absolute; opacity: 0; }
.choice > label { display: inline-block; padding: .25rem .6rem; margin: 0 .3rem .5rem 0;
  border: 1px solid var(--soft); border-radius: .4rem; cursor: pointer; }
.choice > input:checked + label { font-weight: 700; border-color: var(--ink); }
.choice > input:focus-visible + label { outline: 2px solid var(--validation); }
.choice > .panel { display: none; }
"""
_NAMES: Mapping[By, str] = {"flips": "flips", "metric": "task metric"}


def panels(report: BenchReport) -> tuple[Html | None, str]:
    """The card with all panels, and the CSS that shows the chosen one.

    Returns:
        None and no CSS where nothing has a place in a plot.
    """
    views = [
        (threads, cell, points)
        for threads in report.plan.threads
        for cell in report.cells
        if cell.batch == report.plan.batch and (points := points_of(report, threads, cell))
    ]
    if not views:
        return None, ""
    shown = next((i for i, view in enumerate(views) if view[1] == report.headline), 0)
    buttons: list[Html] = []
    bodies: list[Html] = []
    rules: list[str] = []
    for number, (threads, cell, points) in enumerate(views):
        identity = f"view-{number}"
        words = f"{threads} thread{'' if threads == 1 else 's'}, {cell_name(cell, cell.batch)} ids"
        button = element(
            "input", type="radio", name="view", id=identity, checked=number == shown or None
        )
        buttons += [button, element("label", words, for_=identity)]
        bodies.append(_panel(report, threads, cell, points, number))
        rules.append(f"#{identity}:checked ~ .panel-{number} {{ display: block; }}")
    return element("div", *buttons, *bodies, class_="card choice"), "\n".join(rules) + "\n"


def _panel(
    report: BenchReport, threads: int, cell: Cell, points: Sequence[Point], number: int
) -> Html:
    measures: list[By] = ["flips"]
    if any(not math.isnan(point.metric) for point in points):
        measures.append("metric")
    plots = [
        element("figure", _caption(report, cell, by), pareto_plot(f"{by}-{number}", points, by))
        for by in measures
    ]
    return element(
        "div",
        element("div", *plots, class_="columns"),
        _legend(report, points, measures),
        *(element("p", line) for line in _missing(report, threads, cell)),
        class_=f"panel panel-{number}",
    )


def _caption(report: BenchReport, cell: Cell, by: By) -> Html:
    if by == "flips":
        whose = f"the reference of {report.first}" if report.several else "PyTorch"
        what = f"the fuller, the fewer flips against {whose}"
    else:
        what = f"the fuller, the higher the {report.metric.replace('_', ' ')} on labelled texts"
    return element(
        "figcaption",
        element("b", f"Size, latency at {cell.length} ids, and {_NAMES[by]}"),
        element(
            "span",
            f"Blue is ours, orange a peer; {what}; a ring marks who is beaten by nobody in all "
            "three.",
        ),
    )


def _legend(report: BenchReport, points: Sequence[Point], measures: Sequence[By]) -> Html:
    fronts = {by: front_of(points, by) for by in measures}
    rows = [
        element(
            "tr",
            element("th", f"{number} {p.name}", scope="row"),
            element("td", f"{p.megabytes:.1f}", class_="n"),
            element("td", milliseconds(p.ms), class_="n"),
            element("td", "–" if math.isnan(p.flips) else f"{p.flips:.0f}", class_="n"),
            element("td", f"{p.metric:.3f}", class_="n") if "metric" in measures else None,
            element("td", ", ".join(by for by in measures if p in fronts[by]) or "–"),
            class_=f"{'ours' if p.ours else 'peer'}{' front' if p in fronts['flips'] else ''}",
        )
        for number, p in enumerate(points, start=1)
    ]
    metric = [report.metric.replace("_", " ")] if "metric" in measures else []
    head = ["Model", "MB", "ms", "flips", *metric, "on the front by"]
    return scrolled("Models", table(head, rows))


def _missing(report: BenchReport, threads: int, cell: Cell) -> list[str]:
    """Who has no place in a panel, and why."""
    why: dict[str, list[str]] = {}
    for row in report.at(threads):
        reason = row.failure or row.left_out.get(cell, "")
        if reason:
            why.setdefault(reason, []).append(row.contestant.name)
    return [f"Not here: {', '.join(names)}: {reason}" for reason, names in why.items()]
