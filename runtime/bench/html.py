"""A run as one HTML page that needs nothing else: no script, no network, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.bench.pareto_panels import STYLE as PANELS
from runtime.bench.pareto_panels import panels
from runtime.bench.report import BenchReport, CellFigures, Row
from runtime.bench.table import (
    cell_name,
    duel_lines,
    flips_words,
    limit_lines,
    machine_line,
    metric_words,
    milliseconds,
    notes_of,
    ratio_words,
)
from runtime.parity.report.formats import percent, short, size
from runtime.parity.report.markup import Html, element, join
from runtime.parity.report.shell import whole_page
from runtime.parity.report.tables import scrolled, table

_STYLE = """
circle.model { stroke: var(--soft); stroke-width: 1; }
circle.model.ours { fill: var(--validation); } circle.model.peer { fill: var(--boundary); }
circle.model.front { stroke: var(--ink); stroke-width: 2.6; }
tr.front th { font-weight: 700; } tr.peer th { color: var(--boundary); }
tr.ours th { color: var(--validation); }
.columns figure { display: block; } .latency td.n small { display: block; }
"""


def bench_page(report: BenchReport) -> str:
    """Draw a report; the same report gives the same text."""
    parts: list[Html] = [_head(report)]
    fronts, rules = panels(report)
    if fronts is not None:
        parts += [element("h2", "Size, latency and rightness together"), fronts]
    for threads in report.plan.threads:
        parts += _speed(report, threads)
    parts += [element("h2", "What each costs, and how it agrees with PyTorch"), _models(report)]
    if lines := duel_lines(report):
        parts.append(element("h2", "Against peers of the same format"))
        parts.append(_list(lines))
    if lines := notes_of(report):
        parts.append(element("h2", "What to know beside the figures"))
        parts.append(_list(lines))
    parts.append(_method(report))
    body = element("div", *parts, class_="wrap")
    return whole_page(_title(report), body, style=_STYLE + PANELS + rules)


def _title(report: BenchReport) -> str:
    return f"Benchmark of {', '.join(bundle.label for bundle in report.bundles)}"


def _head(report: BenchReport) -> Html:
    peers = sum(r.contestant.group == "peer" for r in report.at(report.plan.threads[0]))
    facts = (
        *(
            (f"Bundle {b.label}", f"{b.name}, weights {b.source_sha256[:12]}…")
            for b in report.bundles
        ),
        ("Baseline", report.baseline),
        ("Peers", str(peers)),
    )
    return element(
        "header",
        element("h1", _title(report)),
        element("p", machine_line(report.machine)),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
            class_="facts",
        ),
        class_="card",
    )


def _speed(report: BenchReport, threads: int) -> list[Html]:
    parts = [element("h2", f"{threads} thread{'' if threads == 1 else 's'}")]
    head = ["Model", *(f"{cell_name(c, report.plan.batch)} ids, ms" for c in report.cells)]
    head.append(f"× limit at {report.headline.length}")
    rows = sorted(report.at(threads), key=lambda row: _median(row, report))
    body = [_speed_row(row, report) for row in rows]
    parts.append(element("div", scrolled("Latency", table(head, body, "latency")), class_="card"))
    parts += [element("p", line) for line in limit_lines(report, threads)]
    return parts


def _list(lines: Sequence[str]) -> Html:
    items = element("ul", *(element("li", line) for line in lines))
    return element("div", items, class_="card")


def _speed_row(row: Row, report: BenchReport) -> Html:
    own = row.contestant.name == report.baseline
    noise = report.noise[row.threads]
    cells = [_cell(row.cells.get(cell), noise, baseline=own) for cell in report.cells]
    head = row.cells.get(report.headline)
    times = head.times_bound if head else math.nan
    cells.append(element("td", "–" if math.isnan(times) else f"{times:.2f}", class_="n"))
    name = element("th", row.contestant.name, scope="row")
    return element("tr", name, *cells, class_=row.contestant.group)


def _cell(found: CellFigures | None, noise: float, *, baseline: bool) -> Html:
    if found is None:
        return element("td", "–", class_="n")
    t, ratio = found.timing, None
    if found.ratio is not None and not baseline:
        r = found.ratio
        ratio = element("small", f"{ratio_words(r, noise)} ({r.low:.3f}–{r.high:.3f})")
    spread = element("small", f"{milliseconds(t.p10)}–{milliseconds(t.p90)}")
    median = element("data", milliseconds(t.median), value=repr(t.median))
    return element("td", median, spread, ratio, class_="n")


def _models(report: BenchReport) -> Html:
    several = report.several
    head = ["Model", "Size", "Load, ms", "Peak memory", "Of it the model", "Flips"]
    head += ["Flips at most (95%)", "Largest error"]
    head += [f"Flips against {report.first}"] if several else []
    head += [report.metric.replace("_", " ") or "Metric", "Runtime"]
    rows = []
    for row in report.at(report.plan.threads[0]):
        f = row.figures
        cells = (
            size(row.contestant.bytes),
            milliseconds(row.load_ms) if not math.isnan(row.load_ms) else "–",
            size(row.peak_bytes) if row.peak_bytes else "–",
            size(row.model_bytes) if row.peak_bytes else "–",
            flips_words(f),
            percent(f["flip_rate_bound"]) if f else "–",
            short(f["max_rel"]) if f else "–",
            *([flips_words(row.against_first)] if several else []),
            metric_words(f),
            f"{row.environment.get('runtime', '–')} {row.environment.get('version', '')}",
        )
        name = element("th", row.contestant.name, scope="row")
        body = (element("td", cell, class_="n") for cell in cells)
        rows.append(element("tr", name, *body, class_=row.contestant.group))
    return element("div", scrolled("Models", table(head, rows)), class_="card")


def _method(report: BenchReport) -> Html:
    plan = report.plan
    counted = {c.ratio.rounds for r in report.rows for c in r.cells.values() if c.ratio}
    rounds = f"{min(counted)} to {max(counted)} rounds" if counted else "no rounds"
    return join(
        element("h2", "How it was measured"),
        element(
            "p",
            f"Every model in a process of its own, asked in turn in an order drawn anew each "
            f"round ({rounds}, seed {plan.seed}); the first run of every burst is not counted. "
            "Ratios are medians over rounds of what ran side by side, their intervals a 95% "
            "bootstrap over rounds. The baseline ran in two processes, and how far they differ is "
            "the noise. Everyone was started anew in each of "
            f"{plan.sittings} sittings. Flips are against the reference that a bundle was made "
            "with, over natural texts, +n over generated and awkward ones; between bundles, over "
            "the texts that all have. The "
            "limit is the products that the answer needs at the rates that products of these "
            "shapes reached in this run.",
        ),
    )


def _median(row: Row, report: BenchReport) -> float:
    found = row.cells.get(report.headline)
    return found.timing.median if found else math.inf
