"""Histogram of the errors of an artifact's logits."""

from __future__ import annotations

import math

import numpy as np

from runtime.golden import SETS
from runtime.parity.judge import ArtifactReport
from runtime.parity.report.axes import BOTTOM, LEFT, RIGHT, TOP, Scale, frame, logarithmic, px, svg
from runtime.parity.report.comparison import Comparison, Floats, Indices
from runtime.parity.report.formats import short
from runtime.parity.report.markup import Html, element, join
from runtime.parity.report.plots import Plot

_BINS_PER_DECADE = 4
_ZERO_WIDTH = 12.0


def error_histogram(identity: str, artifact: ArtifactReport, found: Comparison) -> Plot:
    """How large the differences of logits are, by set, on a logarithmic axis with a place for 0."""
    errors = found.errors[np.isfinite(found.errors)]
    limit = next((c.limit for c in artifact.checks if c.figure == "max_abs"), math.nan)
    # A limit far away would squeeze the errors into a corner.
    near = bool(errors.size) and 0.0 < limit < 1e3 * float(errors.max())
    x = logarithmic(np.append(errors, limit) if near else errors, LEFT, RIGHT)
    edges = 10.0 ** np.linspace(x.low, x.high, round((x.high - x.low) * _BINS_PER_DECADE) + 1)
    counts = np.stack([_counts(found, index, edges) for index in range(len(SETS))])
    y = Scale(0.0, 1.05 * max(float(counts.sum(axis=0).max()), 1.0), BOTTOM, TOP)
    # The first column is that of 0.
    left = np.append(LEFT, x.at(edges[:-1]))
    right = np.append(LEFT + _ZERO_WIDTH, x.at(edges[1:]))
    note = "Differences of single logits, coloured by the set of texts."
    described = f"Histogram of {errors.size} differences."
    marks = []
    if zeros := int(counts[:, 0].sum()):
        note += f" {zeros:,} are exactly 0."
    if broken := found.errors.size - errors.size:
        note += f" {broken:,} logits are not finite and have no place here."
    if errors.size:
        middle, worst = float(np.median(errors)), float(errors.max())
        described += f" Median {short(middle)}, largest {short(worst)}."
        marks.append(_upright(x, worst, f"largest {short(worst)}", "mark", 0))
    if near:
        described += f" Limit {short(limit)}."
        marks.append(_upright(x, limit, f"limit {short(limit)}", "limit", 1))
    picture = svg(
        identity,
        "Errors of the logits",
        described,
        frame(x, y, "difference of a logit", "number of logits"),
        *_bars(left, right, counts, y),
        *marks,
    )
    return Plot("How large are the errors?", note, picture)


def _counts(found: Comparison, index: int, edges: Floats) -> Indices:
    """Differences of one set that are 0, then in each bin; int64 [1 + bins]."""
    own = found.errors[found.sets == index]
    own = own[np.isfinite(own)]
    inside = np.clip(own[own > 0], edges[0], edges[-1])
    return np.append(np.count_nonzero(own == 0), np.histogram(inside, edges)[0])


def _bars(left: Floats, right: Floats, counts: Indices, y: Scale) -> list[Html]:
    """Stacked bars, all of a set as one path; counts are int64 [sets, bars]."""
    parts = []
    ends = np.cumsum(counts, axis=0)
    for index, name in enumerate(SETS):
        path = ""
        for bar in np.flatnonzero(counts[index]):
            bottom = float(y.at(ends[index, bar] - counts[index, bar]))
            # One logit among a million must be seen, too.
            height = max(bottom - float(y.at(ends[index, bar])), 0.8)
            start, width = float(left[bar]) + 0.5, float(right[bar] - left[bar]) - 1.0
            path += f"M{px(start)} {px(bottom)}v{px(-height)}h{px(width)}v{px(height)}z"
        if path:
            parts.append(element("path", d=path, class_=f"fill {name}"))
    return parts


def _upright(x: Scale, value: float, label: str, style: str, line: int) -> Html:
    at = float(x.at(value))
    late = at > (LEFT + RIGHT) / 2
    return join(
        element("path", d=f"M{px(at)} {px(TOP)}V{px(BOTTOM)}", class_=style),
        element(
            "text",
            label,
            x=px(at - 4 if late else at + 4),
            y=px(TOP + 10 + 13 * line),
            class_=f"tick {'end' if late else ''} {style}-text",
        ),
    )
