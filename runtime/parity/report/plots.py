"""Plots of an artifact's logits against the reference's: agreement, and margins with flips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.golden import SETS
from runtime.manifest import TaskSpec
from runtime.parity.report.axes import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    crosses,
    dots,
    frame,
    linear,
    logarithmic,
    px,
    svg,
)
from runtime.parity.report.comparison import Comparison, Flags, Floats, thin
from runtime.parity.report.formats import short
from runtime.parity.report.markup import Html, element

_EXTREMES = 20
_TOOLTIPS = 12


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and what is written above and below it."""

    title: str
    note: str
    picture: Html

    def figure(self) -> Html:
        """As HTML."""
        caption = element("figcaption", element("b", self.title), element("span", self.note))
        return element("figure", caption, self.picture)


def logit_scatter(identity: str, found: Comparison, budget: int) -> Plot:
    """The artifact's logits over the reference's; what agrees lies on the diagonal."""
    fine = np.isfinite(found.logits)
    reference, logits = found.reference[fine], found.logits[fine]
    sets = np.broadcast_to(found.sets[:, None], found.logits.shape)[fine]
    x = linear(np.concatenate([reference, logits]), LEFT, RIGHT)
    y = Scale(x.low, x.high, BOTTOM, TOP)
    at_x, at_y = x.at(reference), y.at(logits)
    chosen, sparse = thin(at_x, at_y, _largest(np.abs(reference - logits)), budget)
    diagonal = element("path", d=f"M{px(LEFT)} {px(BOTTOM)}L{px(RIGHT)} {px(TOP)}", class_="ideal")
    picture = svg(
        identity,
        "Logits of the artifact over the reference's",
        f"{reference.size} logits; the diagonal is perfect agreement. "
        + (
            f"Largest distance from it {short(float(np.abs(reference - logits).max()))}."
            if reference.size
            else ""
        ),
        frame(x, y, "PyTorch's logit", "artifact's logit"),
        diagonal,
        *_points(at_x, at_y, sets, chosen),
    )
    return Plot(
        "Do the logits agree?",
        "On the dashed diagonal they are equal."
        + _drawn(len(chosen), reference.size, sparse=sparse),
        picture,
    )


def margin_plot(identity: str, found: Comparison, task: TaskSpec, budget: int) -> Plot:
    """Errors over the reference's margin: where decisions can flip, and where they did."""
    margin, error = found.margins.ravel(), found.decision_errors.ravel()
    fine = np.isfinite(margin) & np.isfinite(error)
    sets = np.broadcast_to(found.sets[:, None], found.margins.shape).ravel()
    x = logarithmic(margin[fine], LEFT, RIGHT)
    y = logarithmic(error[fine], BOTTOM, TOP)
    flipped = found.flips.ravel() & fine
    places = np.flatnonzero(fine & ~flipped)
    at_x, at_y = x.at(margin), y.at(error)
    kept, sparse = thin(at_x[places], at_y[places], _largest(error[places]), budget)
    flips = np.flatnonzero(flipped)
    flips = flips[np.argsort(margin[flips], kind="stable")]
    # The flips of which the reference was surest come with a name and lie on top.
    named_at_most = max(_TOOLTIPS, budget // 25)
    plain, named = flips[:-named_at_most], flips[-named_at_most:]
    none = np.zeros(len(plain), dtype=np.bool_)
    plain = plain[thin(at_x[plain], at_y[plain], none, budget // 4)[0]]
    titles = [_flip_title(found, task, int(place)) for place in named]
    counted = int(found.flips.sum())
    note = f"Only in the shaded part can a decision flip. {counted:,} of {found.flips.size:,} did"
    note += f", {int(found.large.sum()):,} where the reference was sure." if counted else "."
    if broken := counted - len(flips):
        note += f" {broken:,} rest on logits that are not finite and have no place here."
    picture = svg(
        identity,
        "Errors over the reference's margin",
        f"{found.flips.size} decisions, {counted} flips. A flip needs an error of at least "
        f"{found.reach:g} times the margin.",
        _possible(x, y, found.reach),
        frame(x, y, "how sure the reference was (logits)", "error (logits)"),
        *_points(at_x[places], at_y[places], sets[places], kept),
        crosses(at_x[plain], at_y[plain]),
        *(
            crosses(at_x[[place]], at_y[[place]], title)
            for place, title in zip(named, titles, strict=True)
        ),
    )
    note += _drawn(len(kept), len(places), sparse=sparse)
    return Plot("Which decisions are in danger?", note, picture)


def _possible(x: Scale, y: Scale, reach: float) -> Html:
    """The half plane where the error is large enough for the margin."""
    margins = 10.0 ** np.linspace(x.low, x.high, 50)
    low, high = 10.0**y.low, 10.0**y.high
    line = np.clip(margins * reach, low, high)
    at_x, at_y = np.append(LEFT, x.at(margins)), y.at(np.append(line[0], line))
    path = "".join(f"L{px(a)} {px(b)}" for a, b in zip(at_x, at_y, strict=True))
    top = px(TOP)
    return element("path", d=f"M{px(LEFT)} {top}{path}L{px(RIGHT)} {top}Z", class_="danger")


def _flip_title(found: Comparison, task: TaskSpec, place: int) -> str:
    row, decision = divmod(place, found.margins.shape[1])
    label = f", {task.labels[decision]}" if task.kind == "multi_label" else ""
    return (
        f"{found.cases[row].name}{label}: margin {short(float(found.margins[row, decision]))}, "
        f"error {short(float(found.decision_errors[row, decision]))}"
    )


def _largest(values: Floats) -> Flags:
    keep = np.zeros(len(values), dtype=np.bool_)
    count = min(_EXTREMES, len(values))
    keep[np.argpartition(values, -count)[-count:] if count else []] = True
    return keep


def _points(
    x: Floats,
    y: Floats,
    sets: np.ndarray[tuple[int], np.dtype[np.int64]],
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> list[Html]:
    parts = []
    for index, name in enumerate(SETS):
        own = chosen[sets[chosen] == index]
        drawn = dots(x[own], y[own], f"dot {name}")
        if drawn is not None:
            parts.append(drawn)
    return parts


def _drawn(drawn: int, points: int, *, sparse: bool) -> str:
    if not sparse:
        return ""
    return f" {drawn:,} of {points:,} points are drawn, the {_EXTREMES} largest errors among them."
