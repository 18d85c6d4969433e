"""Plots of calibration and of the error layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from runtime.golden import VALIDATION
from runtime.manifest import TaskSpec
from runtime.parity.calibration import (
    Reliability,
    claims,
    expected_calibration_error,
    reliability,
)
from runtime.parity.metrics import one_hot
from runtime.parity.report.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    frame,
    logarithmic,
    px,
    svg,
)
from runtime.parity.report.comparison import Comparison
from runtime.parity.report.formats import percent, short
from runtime.parity.report.markup import Html, element, join
from runtime.parity.report.plots import Plot

_ROW = 18.0


class LayerPoint(Protocol):
    """The error of one layer, as `runtime.parity.bisect` measures it."""

    @property
    def layer(self) -> str:
        """Short name, such as ``block 0``."""

    @property
    def point(self) -> str:
        """The reference's name for it."""

    @property
    def tensor(self) -> str:
        """Name in the artifact."""

    @property
    def rel_rms(self) -> float:
        """Root mean square of the error over that of the reference."""

    @property
    def budget(self) -> float:
        """What it may be."""


def reliability_diagram(identity: str, found: Comparison, task: TaskSpec) -> Plot | None:
    """How often claims of a given confidence are true, for both; None without true labels."""
    rows = [i for i, case in enumerate(found.cases) if case.set == VALIDATION]
    if not rows:
        return None
    targets = one_hot([found.cases[i].targets or () for i in rows], len(task.labels))
    both = [claims(logits[rows], targets, task) for logits in (found.reference, found.logits)]
    tables = [reliability(*claimed) for claimed in both]
    errors = [expected_calibration_error(*claimed) for claimed in both]
    x, y = Scale(0.0, 1.0, LEFT, RIGHT), Scale(0.0, 1.0, BOTTOM, TOP)
    most = max(int(tables[0].counts.max()), 1)
    # A strip at the foot tells how many claims each point rests on.
    columns = [
        element(
            "rect",
            x=px(float(x.at(left)) + 1),
            y=px(BOTTOM - 40 * count / most),
            width=px(float(x.at(right) - x.at(left)) - 2),
            height=px(40 * count / most),
            class_="strip",
        )
        for left, right, count in zip(
            tables[0].edges, tables[0].edges[1:], tables[0].counts.tolist(), strict=False
        )
        if count
    ]
    drawn = [
        _line(table, x, y, style)
        for table, style in zip(tables, ("reference", "artifact"), strict=True)
    ]
    words = [percent(error) for error in errors]
    picture = svg(
        identity,
        "Reliability of the probabilities",
        f"Share of true claims over confidence. Expected calibration error: reference {words[0]}, "
        f"artifact {words[1]}.",
        *columns,
        frame(x, y, "confidence", "share that is true"),
        element("path", d=f"M{px(LEFT)} {px(BOTTOM)}L{px(RIGHT)} {px(TOP)}", class_="ideal"),
        *drawn,
        _key(),
    )
    what = "label" if task.kind == "multi_label" else "chosen label"
    return Plot(
        "Can the probabilities be trusted?",
        f"Confidence in the {what} against the truth. Calibration error: PyTorch {words[0]}, "
        f"artifact {words[1]}. Large marks and grey bars: many claims.",
        picture,
    )


def _line(table: Reliability, x: Scale, y: Scale, style: str) -> Html:
    some = table.counts > 0
    at_x, at_y = x.at(table.confidence[some]), y.at(table.accuracy[some])
    path = "L".join(f"{px(a)} {px(b)}" for a, b in zip(at_x, at_y, strict=True))
    if not path:
        return Html("")
    # A bin of few claims says little, so its mark is small.
    sizes = 2.0 + 4.0 * np.sqrt(table.counts[some] / max(int(table.counts.max()), 1))
    return join(
        element("path", d=f"M{path}", class_=f"line {style}"),
        *(
            element("circle", cx=px(a), cy=px(b), r=px(size), class_=f"ring {style}")
            for a, b, size in zip(at_x, at_y, sizes, strict=True)
        ),
    )


def _key() -> Html:
    parts = []
    for line, (style, label) in enumerate((("reference", "PyTorch"), ("artifact", "artifact"))):
        y = TOP + 12 + 16 * line
        parts += [
            element("path", d=f"M{px(LEFT + 10)} {px(y)}h22", class_=f"line {style}"),
            element("text", label, x=px(LEFT + 38), y=px(y + 4), class_="tick"),
        ]
    return join(*parts)


def layer_plot(identity: str, layers: Sequence[LayerPoint]) -> Plot:
    """The relative error of every layer of the network, in order, with its budget."""
    errors = np.array([layer.rel_rms for layer in layers], dtype=np.float64)
    budgets = np.array([layer.budget for layer in layers], dtype=np.float64)
    labels = [_cut(layer.layer) for layer in layers]
    name_end = LEFT + 6.2 * max(0, max(map(len, labels)) - 6)
    bottom = TOP + _ROW * len(layers)
    x = logarithmic(np.concatenate([errors, budgets]), name_end + 8, RIGHT)
    parts: list[Html] = []
    for value, label in x.ticks():
        at = px(float(x.at(value)))
        parts.append(element("path", d=f"M{at} {px(TOP)}V{px(bottom)}", class_="grid"))
        parts.append(element("text", label, x=at, y=px(bottom + 15), class_="tick mid"))
    over = np.logical_not(errors <= budgets)
    for index, layer in enumerate(layers):
        y = TOP + _ROW * (index + 0.5)
        parts.append(element("text", labels[index], x=px(name_end), y=px(y + 4), class_="tick end"))
        parts.append(_layer_row(layer, x, y, over=bool(over[index])))
    first = next((layer.layer for layer, bad in zip(layers, over, strict=True) if bad), None)
    note = "Relative error (root mean square) of each layer, measured where this page was made; the"
    note += " red mark is its budget."
    note += f" The first above it is {first}." if first else " All stay within it."
    middle = px((name_end + 8 + RIGHT) / 2)
    parts.append(element("text", "relative error", x=middle, y=px(bottom + 34), class_="name mid"))
    picture = svg(
        identity,
        "Error layer by layer",
        f"{len(layers)} layers, {int(over.sum())} above their budget."
        + (f" First: {first}." if first else ""),
        *parts,
        width=WIDTH,
        height=max(bottom + 44, HEIGHT / 2),
    )
    return Plot("Where does the error arise?", note, picture)


def _cut(name: str) -> str:
    """A name that fits beside the axis; its end tells it from others."""
    return name if len(name) <= 27 else "…" + name[-26:].lstrip(".")


def _layer_row(layer: LayerPoint, x: Scale, y: float, *, over: bool) -> Html:
    parts: list[Html] = []
    if math.isfinite(layer.budget) and layer.budget > 0:
        at = float(x.at(layer.budget))
        parts.append(element("path", d=f"M{px(at)} {px(y - 6)}v12", class_="limit"))
    found = f"{short(layer.rel_rms)}, budget {short(layer.budget)}"
    where = f"{layer.point} ({layer.tensor or 'nothing resembles it'})"
    title = element("title", f"{layer.layer}, {where}: {found}")
    if math.isnan(layer.rel_rms):
        words = element(
            "text", title, "not a number", x=px(x.start + 4), y=px(y + 4), class_="tick limit-text"
        )
        return join(*parts, words)
    at = float(x.at(layer.rel_rms))
    start = float(x.start)
    style = "over" if over else "within"
    parts.append(element("path", d=f"M{px(start)} {px(y)}H{px(at)}", class_=f"stem {style}"))
    parts.append(element("circle", title, cx=px(at), cy=px(y), r="4", class_=f"bead {style}"))
    return join(*parts)
