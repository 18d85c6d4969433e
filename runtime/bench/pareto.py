"""Which models nobody beats in size, latency and flips at once, and their picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.bench.report import BenchReport
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
# Between two numbers that would lie on each other.
_LINE, _NEAR = 12.0, 26.0


class _Axis(Scale):
    """A logarithmic axis of less than whole decades."""

    def ticks(self) -> list[tuple[float, str]]:
        """1, 2, 3, 5 and 7 of each power of ten."""
        powers = range(math.floor(self.low), math.ceil(self.high))
        values = [digit * 10.0**power for power in powers for digit in (1, 2, 3, 5, 7)]
        return [(v, f"{v:g}") for v in values if self.low <= math.log10(v) <= self.high]


@dataclass(frozen=True, slots=True)
class Point:
    """One model: megabytes, milliseconds at the headline size, flips over every golden case."""

    name: str
    ours: bool
    megabytes: float
    ms: float
    flips: float

    def beats(self, other: Point) -> bool:
        """Nowhere worse and somewhere better."""
        own = (self.megabytes, self.ms, self.flips)
        its = (other.megabytes, other.ms, other.flips)
        return own != its and all(a <= b for a, b in zip(own, its, strict=True))


def points_of(report: BenchReport, threads: int) -> list[Point]:
    """Models with all three figures, fastest first; what gave NaN or failed has no place."""
    # Agreement is measured at the first number of threads.
    figures = {r.contestant.name: r.figures for r in report.at(report.plan.threads[0])}
    found = []
    for row in report.at(threads):
        own, cell = figures.get(row.contestant.name, {}), row.cells.get(report.headline)
        flips = own.get("flips", math.nan) + own.get("other_flips", 0.0)
        if cell is None or row.failure or math.isnan(flips) or own.get("non_finite"):
            continue
        size = row.contestant.bytes / 1e6
        ours = row.contestant.group == "ours"
        found.append(Point(row.contestant.name, ours, size, cell.timing.median, flips))
    return sorted(found, key=lambda point: point.ms)


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats."""
    return [p for p in points if not any(other.beats(p) for other in points)]


def pareto_plot(identity: str, points: Sequence[Point]) -> Html:
    """Size over latency: a number names a model, its fill tells the flips, a ring the front.

    Args:
        identity: of the picture in its page.
        points: not empty, numbered from 1 in their order.
    """
    x = _axis([p.ms for p in points], LEFT, RIGHT)
    y = _axis([p.megabytes for p in points], BOTTOM, TOP)
    places = [(float(x.at(p.ms)), float(y.at(p.megabytes))) for p in points]
    heights = _label_heights(places)
    front = front_of(points)
    worst = max(p.flips for p in points) or 1.0
    # The front is drawn last, so that nothing hides it.
    order = sorted(range(len(points)), key=lambda place: points[place] in front)
    names = ", ".join(p.name for p in front)
    return svg(
        identity,
        "Size over latency",
        f"{len(points)} models; not beaten in size, latency and flips at once: {names}.",
        frame(x, y, "milliseconds (less is better)", "megabytes (less is better)"),
        *(_leader(places[i], heights[i]) for i in order),
        *(_marker(points[i], places[i], worst, on_front=points[i] in front) for i in order),
        *(_number(i + 1, places[i], heights[i]) for i in order),
    )


def _axis(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = math.log10(min(values)), math.log10(max(values))
    # At least half as much again between its ends, so that there is a tick or two.
    air = max((0.2 - (high - low)) / 2, 0.05 * (high - low) + 0.02)
    return _Axis(low - air, high + air, start, end, logarithmic=True)


def _label_heights(places: Sequence[tuple[float, float]]) -> list[float]:
    """Where each number stands: beside its point, or as far below as others there need."""
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
    return heights


def _leader(at: tuple[float, float], height: float) -> Html:
    """A thin line from a point to its number."""
    path = f"M{px(at[0])} {px(at[1])}L{px(at[0] + _ASIDE)} {px(height)}"
    return element("path", d=path, class_="grid")


def _number(number: int, at: tuple[float, float], height: float) -> Html:
    return element("text", str(number), x=px(at[0] + _ASIDE), y=px(height + 4))


def _marker(point: Point, at: tuple[float, float], worst: float, *, on_front: bool) -> Html:
    tip = f"{point.name}: {point.ms:.3g} ms, {point.megabytes:.3g} MB, {point.flips:.0f} flips"
    return element(
        "circle",
        element("title", tip),
        cx=px(at[0]),
        cy=px(at[1]),
        r=px(_RADIUS),
        class_=f"model {'ours' if point.ours else 'peer'}{' front' if on_front else ''}",
        fill_opacity=f"{0.15 + 0.85 * (1 - point.flips / worst):.2f}",
    )
