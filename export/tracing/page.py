"""A trace as one HTML page that needs nothing else: no network, no clock."""

from __future__ import annotations

import numpy as np

from export.tracing.document import Floats, Stage, TextTrace
from export.tracing.page_parts import section, table
from export.tracing.page_script import POLICY, SCRIPT, STYLE
from export.tracing.page_tokens import attention_section, rollout_section, tokens_section
from export.tracing.shown import ROLLOUT_NOTE, numbers, shown_shape
from runtime.parity.report.markup import Html, element, join, shown_text
from runtime.parity.report.shell import whole_page

_MOST_LABELS, _NUMBERS = 15, 8


def trace_page(trace: TextTrace) -> str:
    """The page; a whole document that can be written as UTF-8, below 5 MB for any text."""
    body = element(
        "div",
        _head(trace),
        element(
            "main",
            tokens_section(trace),
            rollout_section(trace),
            attention_section(trace),
            _stages(trace),
            _vectors(trace),
            _labels(trace),
        ),
        element("footer", f"{ROLLOUT_NOTE} Rollout: Abnar and Zuidema 2020, arXiv 2005.00928."),
        class_="wrap",
    )
    script = Html(f"<script>{SCRIPT}</script>")
    title = f"{trace.model}: the way of one text"
    return whole_page(title, body, script, style=STYLE, policy=POLICY)


def _head(trace: TextTrace) -> Html:
    given = [element("b", element("bdi", name)) for name in trace.given[:_MOST_LABELS]]
    if len(trace.given) > _MOST_LABELS:
        given.append(element("span", f"and {len(trace.given) - _MOST_LABELS} more"))
    return element(
        "header",
        element(
            "p", f"{trace.model}: {trace.family}, {trace.parameters:,} parameters", class_="muted"
        ),
        element("h1", "The way of one text through the model"),
        element("p", shown_text(trace.text), class_="lead"),
        element("div", *(given or [element("i", "no label")]), class_="answer"),
        class_="head",
    )


def _labels(trace: TextTrace) -> Html:
    several = trace.task.thresholds is not None
    rows = []
    for label in sorted(trace.labels, key=lambda label: -label.probability):
        mark = None
        if label.threshold is not None:
            mark = element("i", style=f"left:{100 * label.threshold:.2f}%")
        meter = element(
            "span",
            element("b", style=f"width:{100 * label.probability:.2f}%"),
            mark,
            class_="meter",
        )
        rows.append(
            element(
                "tr",
                element("th", element("bdi", label.name), scope="row"),
                element("td", meter, " ", "given" if label.given else None),
                element("td", f"{label.logit:+.4f}", class_="n"),
                element("td", f"{label.probability:.4f}", class_="n"),
                element("td", f"{label.threshold:.4f}", class_="n") if several else None,
                class_="given" if label.given else None,
            )
        )
    columns = ("label", "", "logit", "probability", *(("threshold",) if several else ()))
    most, rest = rows[:_MOST_LABELS], rows[_MOST_LABELS:]
    return section(
        f"Logits to labels, by {trace.task.activation}",
        table(columns, most, first_n=2, class_="stages"),
        element(
            "details",
            element("summary", f"{len(rest)} more labels"),
            table(columns, rest, first_n=2, class_="stages"),
        )
        if rest
        else None,
        _artifacts(trace),
    )


def _artifacts(trace: TextTrace) -> Html | None:
    if not trace.artifacts:
        return None
    rows = [
        element(
            "tr",
            element("th", artifact.path, scope="row"),
            element("td", element("bdi", ", ".join(artifact.labels) or "(none)")),
            element(
                "td",
                "other ids" if artifact.difference is None else f"{artifact.difference:.2g}",
                class_="n",
            ),
        )
        for artifact in trace.artifacts
    ]
    return join(
        element("h4", "The same text in the artifacts of the bundle"),
        table(("artifact", "labels", "largest difference of a logit"), rows, first_n=2),
    )


def _stages(trace: TextTrace) -> Html:
    rows = []
    for stage in trace.stages:
        inner = stage.part == "block" and stage.milliseconds is None
        rows.append(_stage(stage, inner=inner))
    return section(
        "Shapes at every stage",
        element("input", type="checkbox", id="more", class_="more"),
        element("label", " what is inside the blocks, too", for_="more"),
        table(
            ("stage", "shape", "mean", "standard deviation", "length of a vector", "ms"),
            rows,
            first_n=1,
            class_="stages",
        ),
        element(
            "p",
            "Length of a vector: Euclidean, mean over the positions. Times are of this run on this "
            "machine, with attention that shows itself, which is slower than usual.",
            class_="muted",
        ),
    )


def _stage(stage: Stage, *, inner: bool) -> Html:
    figures = (f"{stage.mean:+.4f}", f"{stage.std:.4f}", f"{stage.norm:.3f}")
    took = "" if stage.milliseconds is None else f"{stage.milliseconds:.2f}"
    return element(
        "tr",
        element("th", element("code", stage.name), scope="row"),
        *(element("td", cell, class_="n") for cell in (shown_shape(stage), *figures, took)),
        class_="inner" if inner else None,
    )


def _vectors(trace: TextTrace) -> Html:
    return section(
        "The vector that is classified",
        *_vector("The encoder's output at the position that is read", trace.pooled),
        *_vector("What the last linear layer reads", trace.head_vector),
    )


def _vector(title: str, vector: Floats) -> tuple[Html, Html, Html]:
    """A strip with a bar for each number, up for positive and down for negative ones."""
    top = float(np.abs(vector).max()) or 1.0
    bars = []
    for at, value in enumerate(vector):
        height = round(50 * abs(float(value)) / top, 1)
        if height:
            y = round(50 - height, 1) if value > 0 else 50
            kind = "pos" if value > 0 else "neg"
            bars.append(
                element("rect", x=str(at), y=str(y), width="1", height=str(height), class_=kind)
            )
    picture = element(
        "svg",
        *bars,
        viewBox=f"0 0 {len(vector)} 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{len(vector)} numbers from {vector.min():.3f} to {vector.max():.3f}",
    )
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    told = f"1 x {len(vector)}, length {norm:.3f}, largest {top:.3f}: {numbers(vector, _NUMBERS)}"
    return (
        element("h4", title),
        element("div", picture, class_="strip-box"),
        element("p", element("code", told)),
    )
