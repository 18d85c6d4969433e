"""How often a claimed probability came true."""

from __future__ import annotations

import numpy as np

from export.training.evaluation import Evaluation
from runtime.parity.report.axes import BOTTOM, LEFT, RIGHT, TOP, Scale, frame, px, svg
from runtime.parity.report.formats import percent
from runtime.parity.report.markup import Html, element


def reliability_plot(found: Evaluation) -> Html:
    """Share of true claims over confidence, with grey bars for how many there were."""
    x, y = Scale(0.0, 1.0, LEFT, RIGHT), Scale(0.0, 1.0, BOTTOM, TOP)
    used = [part for part in found.bins if part.count]
    most = max((part.count for part in used), default=1)
    bars = [
        element(
            "rect",
            x=px(float(x.at(part.low)) + 1),
            y=px(BOTTOM - 40 * part.count / most),
            width=px(float(x.at(part.high) - x.at(part.low)) - 2),
            height=px(40 * part.count / most),
            class_="strip",
        )
        for part in used
    ]
    points = [
        (float(x.at(part.confidence or 0.0)), float(y.at(part.accuracy or 0.0)), part)
        for part in used
    ]
    line = "L".join(f"{px(a)} {px(b)}" for a, b, _ in points)
    dots = [
        element(
            "circle",
            element(
                "title",
                f"{part.count:,} claims of {part.confidence:.0%} on average: "
                f"{part.accuracy:.0%} true",
            ),
            cx=px(a),
            cy=px(b),
            # A bin of few claims says little, so its mark is small.
            r=px(2.0 + 4.0 * float(np.sqrt(part.count / most))),
            class_="ring artifact",
        )
        for a, b, part in points
    ]
    error = found.figures.get("ece")
    words = "not defined" if error is None else percent(error)
    picture = svg(
        "reliability",
        "Reliability of the probabilities",
        f"Share of true claims over confidence. Expected calibration error {words}.",
        *bars,
        frame(x, y, "confidence", "share that is true"),
        element("path", d=f"M{px(LEFT)} {px(BOTTOM)}L{px(RIGHT)} {px(TOP)}", class_="ideal"),
        element("path", d=f"M{line}", class_="line artifact") if line else None,
        *dots,
    )
    what = "each label" if found.kind == "multi_label" else "the chosen label"
    caption = element(
        "figcaption",
        element("b", "Can the probabilities be trusted?"),
        element("span", f"Confidence in {what} against the truth. Calibration error: {words}."),
    )
    return element("figure", caption, picture)
