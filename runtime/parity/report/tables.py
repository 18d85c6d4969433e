"""Tables of the page: overview, checks, labels, machines side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.decisions import decisions
from runtime.manifest import ArtifactSpec, TaskSpec, Verdict
from runtime.parity.evidence import Evidence
from runtime.parity.gates import Check
from runtime.parity.judge import ArtifactReport, ParityReport
from runtime.parity.report.comparison import Comparison
from runtime.parity.report.formats import (
    figure,
    meaning,
    percent,
    short,
    size,
    unit,
    used,
    used_words,
)
from runtime.parity.report.markup import Html, element, join
from runtime.parity.report.words import verdict_word

_GROUPS = (
    (
        "Numbers",
        ("non_finite", "max_abs", "p99_abs", "mean_abs", "max_rel", "cosine", "sqnr_db", "kl_mean"),
    ),
    ("Answers", ("flip_rate", "flip_rate_bound", "large_margin_flips", "boundary_flip_rate")),
    ("Task", ("metric_drop", "metric_drop_bound", "ece_change")),
    (
        "Same answer whatever surrounds the text",
        (
            "padding_rel",
            "bucket_rel",
            "batch_rel",
            "order_rel",
            "repeat_rel",
            "cold_rel",
            "threads_rel",
        ),
    ),
)
_REST = "Graph and weights"
_LABELS_SHOWN = 12
_CHANGES_SHOWN = 8
_MARKS = {"pass": "✓", "fail": "✕", "unknown": "?"}


def chip(verdict: Verdict) -> Html:
    """The verdict as a coloured word with a sign, so that colour is not all that tells it."""
    sign = element("span", _MARKS[verdict], aria_hidden="true")
    return element("span", sign, verdict_word(verdict), class_=f"chip {verdict}")


def scrolled(label: str, table: Html) -> Html:
    """A table that scrolls by itself where the window is narrow, with the keyboard too."""
    return element("div", table, class_="scroll", role="region", aria_label=label, tabindex="0")


def table(head: Sequence[str], rows: Sequence[Html], style: str = "") -> Html:
    """A table from its column names and its rows."""
    columns = [element("th", name, scope="col") for name in head]
    return element(
        "table",
        element("thead", element("tr", *columns)),
        element("tbody", *rows),
        class_=style or None,
    )


def overview(
    report: ParityReport, artifacts: dict[str, ArtifactSpec], links: Sequence[str]
) -> Html:
    """One row per artifact and machine."""
    head = (
        "Artifact",
        "Machine",
        "Verdict",
        "Closest to its limit",
        "Flips",
        "Flips at most (95%)",
        report.metric.replace("_", " "),
        "Largest error",
    )
    rows = [
        _overview_row(found, artifacts.get(found.path), link)
        for found, link in zip(report.artifacts, links, strict=True)
    ]
    return scrolled("All artifacts", table(head, rows, "overview"))


def _overview_row(found: ArtifactReport, spec: ArtifactSpec | None, link: str) -> Html:
    f = found.figures
    about = [found.recipe] + ([size(spec.bytes)] if spec else [])
    drop = f.get("metric_drop", math.nan)
    metric = [figure("metric", f.get("metric", math.nan))]
    if math.isfinite(drop) and drop:
        metric.append(element("small", f" ({-drop:+.4f})"))
    bound = max((entry.bound for entry in found.per_label), default=math.nan)
    return element(
        "tr",
        element(
            "th",
            element("a", found.path, href=f"#{link}"),
            element("small", " · ".join(about)),
            scope="row",
        ),
        element("td", found.evidence.machine.name),
        element("td", chip(found.verdict)),
        element("td", _closest(found.checks)),
        element("td", f"{f.get('flips', 0.0):,.0f} of {f.get('decisions', 0.0):,.0f}", class_="n"),
        element("td", figure("flip_rate_bound", bound), class_="n"),
        element("td", *metric, class_="n"),
        element("td", figure("max_abs", f.get("max_abs", math.nan)), class_="n"),
    )


def _closest(checks: tuple[Check, ...]) -> Html:
    """The check that uses the most of its limit, failed ones first."""
    if not checks:
        return element("span", "not judged", class_="muted")

    def order(check: Check) -> tuple[bool, float]:
        share = used(check)
        return not check.passed, math.inf if math.isnan(share) else share

    worst = max(checks, key=order)
    return join(element("small", worst.figure), bar(worst))


def bar(check: Check, observed: float | None = None) -> Html:
    """How much of its limit a check uses; a tick stands where the value was once observed."""
    share = used(check)
    full = math.isnan(share) or share > 1.0
    width = 100.0 if full else 100.0 * share
    tick: Html | None = None
    if observed is not None:
        place = used(check, observed)
        if math.isfinite(place):
            tick = element("i", style=f"left:{min(100.0, 100.0 * place):.1f}%")
    track = element(
        "span",
        element("b", style=f"width:{width:.1f}%"),
        tick,
        class_=f"bar {check.verdict}",
        aria_hidden="true",
    )
    return element("span", track, element("span", used_words(share), class_="used"), class_="use")


def checks_table(found: ArtifactReport) -> Html:
    """Every check: value, limit, what was observed when the limit was set, how much is used."""
    observed = found.gate.observed.get(found.evidence.machine.architecture, {})
    named = {name for _, names in _GROUPS for name in names}
    groups = [
        (title, [check for name in names for check in found.checks if check.figure == name])
        for title, names in _GROUPS
    ]
    groups.append((_REST, [check for check in found.checks if check.figure not in named]))
    rows: list[Html] = []
    for title, checks in groups:
        if checks:
            rows.append(
                element("tr", element("th", title, colspan="6", scope="colgroup"), class_="group")
            )
            rows += [_check_row(check, observed.get(check.figure)) for check in checks]
    head = ("Figure", "Value", "Limit", "Once seen", "Of the limit", "Verdict")
    return scrolled(f"Checks of {found.path}", table(head, rows, "checks"))


def _check_row(check: Check, observed: float | None) -> Html:
    name = check.figure
    sign = "≤ " if check.bound == "max" else "≥ "
    seen = figure(name, observed) if observed is not None else element("span", "–", class_="muted")
    label = element("small", f" {unit(name)}") if math.isfinite(check.value) else None
    note = element("small", check.note, class_="note") if check.note else None
    return element(
        "tr",
        element("th", element("code", name), element("small", meaning(name)), note, scope="row"),
        element("td", figure(name, check.value), label, class_="n"),
        element("td", sign, figure(name, check.limit), class_="n"),
        element("td", seen, class_="n"),
        element("td", bar(check, observed)),
        element("td", chip(check.verdict)),
        class_=check.verdict,
    )


def label_flips(found: ArtifactReport) -> Html | None:
    """Flips of every label of a multi-label task, the least certain first."""
    entries = sorted(found.per_label, key=lambda e: -e.bound)
    if len(entries) < 2:
        return None
    limit = next((c.limit for c in found.checks if c.figure == "flip_rate_bound"), math.nan)
    top = max([entry.bound for entry in entries] + ([limit] if math.isfinite(limit) else []))

    def row(index: int) -> Html:
        entry = entries[index]
        rate = entry.flips / entry.texts if entry.texts else math.nan
        over = entry.bound > limit
        line = element(
            "span",
            element("u", style=f"width:{100.0 * entry.bound / top:.1f}%"),
            element("b", style=f"width:{100.0 * rate / top if entry.texts else 0.0:.1f}%"),
            element("i", style=f"left:{100.0 * limit / top:.1f}%") if limit <= top else None,
            class_=f"bar wide {'unknown' if over else 'pass'}",
            aria_hidden="true",
        )
        return element(
            "tr",
            element("th", entry.label, scope="row"),
            element("td", f"{entry.flips} of {entry.texts}", class_="n"),
            element("td", percent(rate), class_="n"),
            element("td", figure("flip_rate_bound", entry.bound), class_="n"),
            element("td", line),
        )

    head = ("Label", "Flips", "Share", "At most (95%)", "Share, bound and limit")
    first = table(head, [row(i) for i in range(min(_LABELS_SHOWN, len(entries)))], "labels")
    parts = [element("h4", "Flips label by label"), scrolled("Flips by label", first)]
    if len(entries) > _LABELS_SHOWN:
        rest = table(head, [row(i) for i in range(_LABELS_SHOWN, len(entries))], "labels")
        parts.append(
            element(
                "details",
                element("summary", f"The other {len(entries) - _LABELS_SHOWN} labels"),
                scrolled("Flips by label, the rest", rest),
            )
        )
    return join(*parts)


def changed_answers(found: Comparison, task: TaskSpec) -> Html | None:
    """Single-label: which answers became which, the commonest first; None without flips."""
    if task.kind != "single_label" or not found.flips.any():
        return None
    rows = np.flatnonzero(found.flips[:, 0] & np.isfinite(found.logits).all(axis=1))
    before, after = found.reference[rows].argmax(axis=1), found.logits[rows].argmax(axis=1)
    pairs, counts = np.unique(np.stack([before, after], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_CHANGES_SHOWN]
    items = [
        element(
            "li",
            element("b", f"{counts[i]}×"),
            " ",
            element("bdi", task.labels[pairs[i][0]]),
            " → ",
            element("bdi", task.labels[pairs[i][1]]),
        )
        for i in order
    ]
    left = len(counts) - len(order)
    more = element("li", f"and {left} more kinds", class_="muted") if left > 0 else None
    if not items:
        return None
    return join(
        element("h4", "Which answers change, over all sets"),
        element("ul", *items, more, class_="changes"),
    )


def machines(found: Sequence[ArtifactReport], task: TaskSpec) -> Html:
    """One artifact on several machines, figure by figure; each judged by its own limits."""
    head = ("Figure", *(report.evidence.machine.name for report in found))
    checks = [{check.figure: check for check in report.checks} for report in found]
    names = dict.fromkeys(name for column in checks for name in column)
    rows = [
        element(
            "tr",
            element("th", "Verdict", scope="row"),
            *(element("td", chip(report.verdict), class_="n") for report in found),
        )
    ]
    rows += [
        element(
            "tr",
            element("th", element("code", name), element("small", meaning(name)), scope="row"),
            *(_machine_cell(column.get(name)) for column in checks),
        )
        for name in names
    ]
    first = found[0].evidence
    apart = [_apart(first, report.evidence, task) for report in found]
    for index, title in enumerate(
        (f"Largest difference from {first.machine.name}", f"Answers unlike {first.machine.name}")
    ):
        cells = [
            element("td", pair[index] if at else "–", class_="n") for at, pair in enumerate(apart)
        ]
        rows.append(element("tr", element("th", title, scope="row"), *cells, class_="apart"))
    return scrolled("Machines side by side", table(head, rows, "side"))


def _machine_cell(check: Check | None) -> Html:
    if check is None:
        return element("td", element("span", "not measured", class_="muted"), class_="n")
    mark = element(
        "span",
        _MARKS[check.verdict],
        class_=f"mark {check.verdict}",
        role="img",
        aria_label=verdict_word(check.verdict),
    )
    sign = "≤" if check.bound == "max" else "≥"
    return element(
        "td",
        figure(check.figure, check.value),
        " ",
        mark,
        element("small", f"{sign} ", figure(check.figure, check.limit)),
        class_="n",
    )


def _apart(first: Evidence, other: Evidence, task: TaskSpec) -> tuple[str, str]:
    """Largest difference of a logit and decisions that differ, over the cases both ran.

    A neighbour is no decision of a text alone, so of sentence vectors those that differ count.
    """
    _, own, its = np.intersect1d(first.rows, other.rows, return_indices=True)
    one, two = first.logits[own].astype(np.float64), other.logits[its].astype(np.float64)
    if not one.size:
        return "no common text", "no common text"
    with np.errstate(invalid="ignore"):
        largest = float(np.abs(one - two).max())
    if task.gives_vectors:
        unlike = int((one != two).any(axis=1).sum())
    else:
        unlike = int((decisions(one, task) != decisions(two, task)).any(axis=1).sum())
    return (
        short(largest) if math.isfinite(largest) else "not a number",
        f"{unlike:,} of {len(one):,} texts",
    )
