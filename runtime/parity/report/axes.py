"""Axes and the frame of a plot, as SVG. Colours come from the page's style."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.parity.report.markup import Html, element, join

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 400.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 388.0, 14.0, 242.0
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Scale:
    """Values → pixels.

    Attributes:
        low, high: ends of the axis; for a logarithmic one, exponents of ten.
        start, end: their pixels.
        logarithmic: whether the axis is.
        zero: whether a logarithmic axis has a place for 0, below its low end.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False
    zero: bool = False

    def at(self, values: npt.ArrayLike) -> Floats:
        """Pixels of values; a logarithmic axis puts 0 at its start."""
        v = np.asarray(values, dtype=np.float64)
        if self.logarithmic:
            with np.errstate(divide="ignore"):
                v = np.where(v > 0, np.log10(v), -np.inf)
        # Clipped, so that what does not fit is seen at the edge and does not leave the frame.
        share = np.clip((v - self._first) / (self.high - self._first), 0.0, 1.0)
        return np.asarray(self.start + share * (self.end - self.start))

    @property
    def _first(self) -> float:
        return self.low - (self.high - self.low) * 0.08 if self.zero else self.low

    def ticks(self) -> list[tuple[float, str]]:
        """Values and what is written at them."""
        if not self.logarithmic:
            return [(value, _tick(value)) for value in _nice(self.low, self.high)]
        low, high = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        step = max(1, math.ceil((high - low + 1) / 7))
        ticks = [
            (10.0**power, f"10{str(power).translate(_POWERS)}")
            for power in range(low, high + 1, step)
        ]
        return [(0.0, "0"), *ticks] if self.zero else ticks


def linear(values: Floats, start: float, end: float) -> Scale:
    """An axis that holds all finite values with a little air."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    air = (high - low) * 0.05 or 0.5
    return Scale(low - air, high + air, start, end)


def logarithmic(values: Floats, start: float, end: float) -> Scale:
    """Whole decades that hold all positive values, and a place for 0 where there is one."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    low, high = -3.0, 0.0
    if positive.size:
        low = math.floor(math.log10(float(positive.min())) + 1e-9)
        high = math.ceil(math.log10(float(positive.max())) - 1e-9)
        if high - low < 2:
            low, high = low - (high - low == 0), low + 2.0
    # Smaller than this no float32 difference of logits means anything.
    low = max(low, high - 14.0)
    return Scale(
        float(low), float(high), start, end, logarithmic=True, zero=bool((finite == 0).any())
    )


def _nice(low: float, high: float) -> list[float]:
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [index * step for index in range(first, last + 1)]


def _tick(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def frame(x: Scale, y: Scale, x_name: str, y_name: str) -> Html:
    """Grid, ticks, and the axes' names."""
    parts: list[Html] = []
    for value, label in x.ticks():
        at = px(float(x.at(value)))
        parts.append(element("path", d=f"M{at} {px(TOP)}V{px(BOTTOM)}", class_="grid"))
        parts.append(element("text", label, x=at, y=px(BOTTOM + 15), class_="tick mid"))
    for value, label in y.ticks():
        place = float(y.at(value))
        parts.append(element("path", d=f"M{px(LEFT)} {px(place)}H{px(RIGHT)}", class_="grid"))
        parts.append(element("text", label, x=px(LEFT - 6), y=px(place + 4), class_="tick end"))
    middle = px((LEFT + RIGHT) / 2)
    height = px((TOP + BOTTOM) / 2)
    parts += [
        element("path", d=f"M{px(LEFT)} {px(TOP)}V{px(BOTTOM)}H{px(RIGHT)}", class_="axis"),
        element("text", x_name, x=middle, y=px(BOTTOM + 36), class_="name mid"),
        element("text", y_name, transform=f"translate(12 {height}) rotate(-90)", class_="name mid"),
    ]
    return join(*parts)


def svg(
    identity: str,
    title: str,
    description: str,
    *parts: str | None,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Html:
    """A picture with a title and a description for those who do not see it."""
    names = {"title": f"{identity}-t", "desc": f"{identity}-d"}
    return element(
        "svg",
        element("title", title, id=names["title"]),
        element("desc", description, id=names["desc"]),
        *parts,
        viewBox=f"0 0 {px(width)} {px(height)}",
        role="img",
        aria_labelledby=f"{names['title']} {names['desc']}",
    )


def dots(x: Floats, y: Floats, style: str) -> Html | None:
    """Points as one path of round line ends, the shortest way to write many."""
    if not len(x):
        return None
    path = "".join(f"M{px(a)} {px(b)}h0" for a, b in zip(x, y, strict=True))
    return element("path", d=path, class_=style)


def crosses(x: Floats, y: Floats, title: str | None = None) -> Html | None:
    """Flips: crosses, so that colour is not all that tells them, in one path with a tooltip."""
    if not len(x):
        return None
    path = "".join(f"M{px(a - 3.5)} {px(b - 3.5)}l7 7m0-7l-7 7" for a, b in zip(x, y, strict=True))
    return element("path", element("title", title) if title else None, d=path, class_="flip")


def px(value: float) -> str:
    """A pixel coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
