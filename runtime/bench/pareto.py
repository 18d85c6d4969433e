"""Which models nobody beats in size, latency and rightness at once, and their picture.

Rightness has two measures, and each has a front of its own. Flips against the first bundle's
reference tell how faithful a file is to that model. The task's metric on labelled texts tells how
good it is, whomever it follows: a student may flip often and be as right as its teacher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.bench.report import BenchReport
from runtime.bench.schedule import Cell
from runtime.parity.report.axes import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    frame,
    px,
    svg,
)
from runtime.parity.report.markup import Html, element

_RADIUS, _ASIDE = 5.0, 10.0
# A number's middle stays so far above the axis.
_FOOT = 6.0
# Between two numbers that would lie on each other.
_LINE, _NEAR = 12.0, 26.0
By = Literal["flips", "metric"]


class _Axis(Scale):
    """A logarithmic axis of less than whole decades."""

    def ticks(self) -> list[tuple[float, str]]:
        """1, 2, 3, 5 and 7 of each power of ten."""
        powers = range(math.floor(self.low), math.ceil(self.high))
        values = [digit * 10.0**power for power in powers for digit in (1, 2, 3, 5, 7)]
        return [(v, f"{v:g}") for v in values if self.low <= math.log10(v) <= self.high]


@dataclass(frozen=True, slots=True)
class Point:
    """One model at one size of input.

    Attributes:
        megabytes: of its file.
        ms: median milliseconds.
        flips: against the first bundle's reference, over every text that all bundles have; NaN
            where there is none.
        metric: the task's, 0 to 1, on its own labelled texts; NaN where there is none.
    """

    name: str
    ours: bool
    megabytes: float
    ms: float
    flips: float
    metric: float = math.nan

    def loss(self, by: By) -> float:
        """How wrong it is; less is better. What is not known is worse than all that is."""
        value = self.flips if by == "flips" else -self.metric
        return math.inf if math.isnan(value) else value

    def beats(self, other: Point, by: By = "flips") -> bool:
        """Nowhere worse and somewhere better."""
        own = (self.megabytes, self.ms, self.loss(by))
        its = (other.megabytes, other.ms, other.loss(by))
        return own != its and all(a <= b for a, b in zip(own, its, strict=True))


def points_of(report: BenchReport, threads: int, cell: Cell) -> list[Point]:
    """Models that were timed and judged, fastest first; what gave NaN or failed has no place."""
    # Agreement is measured at the first number of threads.
    judged = {r.contestant.name: r for r in report.at(report.plan.threads[0])}
    found = []
    for row in report.at(threads):
        timed, own = row.cells.get(cell), judged[row.contestant.name]
        if timed is None or row.failure or not own.figures or own.figures.get("non_finite"):
            continue
        held = own.against_first
        point = Point(
            row.contestant.name,
            row.contestant.group == "ours",
            row.contestant.bytes / 1e6,
            timed.timing.median,
            held.get("flips", math.nan) + held.get("other_flips", 0.0),
            own.figures.get("metric", math.nan),
        )
        found.append(point)
    return sorted(found, key=lambda point: point.ms)


def front_of(points: Sequence[Point], by: By = "flips") -> list[Point]:
    """Those that no other beats."""
    return [p for p in points if not any(other.beats(p, by) for other in points)]


def pareto_plot(identity: str, points: Sequence[Point], by: By = "flips") -> Html:
    """Size over latency: a number names a model, its fill how right it is, a ring the front.

    Args:
        identity: of the picture in its page.
        points: not empty, numbered from 1 in their order.
        by: what rightness is.
    """
    x = _axis([p.ms for p in points], LEFT, RIGHT)
    y = _axis([p.megabytes for p in points], BOTTOM, TOP)
    places = [(float(x.at(p.ms)), float(y.at(p.megabytes))) for p in points]
    heights = _label_heights(places)
    front = front_of(points, by)
    fills = _fills(points, by)
    # The front is drawn last, so that nothing hides it.
    order = sorted(range(len(points)), key=lambda place: points[place] in front)
    names = ", ".join(p.name for p in front)
    return svg(
        identity,
        "Size over latency",
        f"{len(points)} models; not beaten in size, latency and {by} at once: {names}.",
        frame(x, y, "milliseconds (less is better)", "megabytes (less is better)"),
        *(_leader(places[i], heights[i]) for i in order),
        *(_marker(points[i], places[i], fills[i], on_front=points[i] in front) for i in order),
        *(_number(i + 1, places[i], heights[i]) for i in order),
    )


def _axis(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = math.log10(min(values)), math.log10(max(values))
    # At least half as much again between its ends, so that there is a tick or two.
    air = max((0.2 - (high - low)) / 2, 0.05 * (high - low) + 0.02)
    return _Axis(low - air, high + air, start, end, logarithmic=True)


def _fills(points: Sequence[Point], by: By) -> list[float]:
    """How full each marker is: 1 for the best and 0.15 for the worst or unknown."""
    losses = [p.loss(by) for p in points]
    known = [loss for loss in losses if math.isfinite(loss)]
    if not known:
        return [0.15] * len(points)
    best, spread = min(known), (max(known) - min(known)) or 1.0
    shares = [1 - (loss - best) / spread if math.isfinite(loss) else 0.0 for loss in losses]
    return [0.15 + 0.85 * share for share in shares]


def _label_heights(places: Sequence[tuple[float, float]]) -> list[float]:
    """Where each number stands: beside its point, or as far away as others there need.

    Numbers go down from point to point; where that would leave the frame, the lowest ones are
    pushed up again, each as far as the one below it needs.
    """
    heights = [0.0] * len(places)
    done: list[int] = []
    for place in sorted(range(len(places)), key=lambda i: (places[i][1], places[i][0])):
        x, height = places[place]
        taken = sorted(heights[i] for i in done if abs(places[i][0] - x) < _NEAR)
        for other in taken:
            if abs(height - other) < _LINE:
                height = other + _LINE
        heights[place] = height
        done.append(place)
    lowest: list[int] = []
    for place in sorted(done, key=lambda i: -heights[i]):
        below = [heights[i] for i in lowest if abs(places[i][0] - places[place][0]) < _NEAR]
        heights[place] = min([heights[place], BOTTOM - _FOOT, *(h - _LINE for h in below)])
        lowest.append(place)
    return heights


def _leader(at: tuple[float, float], height: float) -> Html:
    """A thin line from a point to its number."""
    path = f"M{px(at[0])} {px(at[1])}L{px(at[0] + _ASIDE)} {px(height)}"
    return element("path", d=path, class_="grid")


def _number(number: int, at: tuple[float, float], height: float) -> Html:
    return element("text", str(number), x=px(at[0] + _ASIDE), y=px(height + 4))


def _marker(point: Point, at: tuple[float, float], fill: float, *, on_front: bool) -> Html:
    tip = f"{point.name}: {point.ms:.3g} ms, {point.megabytes:.3g} MB, {point.flips:.0f} flips"
    if not math.isnan(point.metric):
        tip += f", metric {point.metric:.3f}"
    return element(
        "circle",
        element("title", tip),
        cx=px(at[0]),
        cy=px(at[1]),
        r=px(_RADIUS),
        class_=f"model {'ours' if point.ours else 'peer'}{' front' if on_front else ''}",
        fill_opacity=f"{fill:.2f}",
    )
