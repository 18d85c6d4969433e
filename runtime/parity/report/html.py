"""The report as one HTML page that needs nothing else: no script, no network, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.golden import SETS, Golden
from runtime.manifest import ArtifactSpec, Manifest, TaskSpec, Verdict
from runtime.parity.document import scope
from runtime.parity.judge import ArtifactReport, ParityReport
from runtime.parity.report.comparison import Comparison, compare
from runtime.parity.report.formats import percent, size
from runtime.parity.report.histogram import error_histogram
from runtime.parity.report.markup import Html, element, join, with_code
from runtime.parity.report.more_plots import LayerPoint, layer_plot, reliability_diagram
from runtime.parity.report.plots import Plot, logit_scatter, margin_plot
from runtime.parity.report.shell import whole_page
from runtime.parity.report.tables import (
    changed_answers,
    checks_table,
    chip,
    label_flips,
    machines,
    overview,
)
from runtime.parity.report.words import (
    advice,
    bound_words,
    commands,
    headline,
    lead,
    missed,
    name_of,
    reasons,
    verdict_word,
)
from runtime.parity.report.worst import worst_table

# The points of all plots together, so that the page of many artifacts stays small.
_POINTS = 30_000
_POINTS_OF_A_PLOT = (150, 1200)
_OPEN_AT_MOST = 2
_SIGNS: dict[Verdict, str] = {"pass": "✓", "fail": "✕", "unknown": "?"}

_VECTORS = (
    "The answer to a text is its nearest neighbour among the natural texts, by cosine. What the "
    "plots call logits are the numbers of its sentence vector."
)
_SET_NAMES = {
    "validation": "validation texts, with true labels",
    "unlabelled": "further natural texts",
    "boundary": "texts made to be nearly undecided",
    "awkward": "awkward texts",
}


def html_report(
    report: ParityReport,
    golden: Golden,
    manifest: Manifest,
    *,
    layers: Mapping[str, Sequence[LayerPoint]] | None = None,
) -> str:
    """Draw a report.

    Args:
        report: of one or more artifacts on one or more machines.
        golden: the cases that were judged.
        manifest: of the bundle.
        layers: artifact path → error of each point of the network, in order, as
            `runtime.parity.bisect.layer_errors` gives it.

    Returns:
        The page, a whole document that can be written as UTF-8; the same report gives the same
        text.
    """
    links = [f"artifact-{index}" for index in range(1, len(report.artifacts) + 1)]
    specs = {artifact.path: artifact for artifact in manifest.artifacts}
    share = _POINTS // max(1, 2 * len(report.artifacts))
    budget = min(max(share, _POINTS_OF_A_PLOT[0]), _POINTS_OF_A_PLOT[1])
    # Layers are measured here and not on every machine, so they are shown once.
    own_layers = dict(layers or {})
    # Where everything passes, the first is opened to show what there is.
    passed = report.verdict == "pass"
    open_links = links if len(links) <= _OPEN_AT_MOST else links[:passed]
    cards = [
        _artifact(
            found,
            report,
            golden,
            manifest,
            specs.get(found.path),
            link,
            budget,
            own_layers.pop(found.path, ()),
            unfold=found.verdict != "pass" or link in open_links,
        )
        for found, link in zip(report.artifacts, links, strict=True)
    ]
    title = f"{verdict_word(report.verdict)}: parity of {manifest.name}"
    body = element(
        "div",
        _banner(report, manifest),
        element("main", _in_short(report), *_main(report, manifest, specs, links, cards)),
        element(
            "footer",
            "Figures are defined in runtime/parity/gates.py; exact values are in parity.json, and "
            "here in each number's value attribute.",
        ),
        class_="wrap",
    )
    return whole_page(title, body)


def _banner(report: ParityReport, manifest: Manifest) -> Html:
    """The verdict, and what it rests on."""
    places = dict.fromkeys(found.evidence.machine.name for found in report.artifacts)
    texts = [f"{report.cases[name]:,} {name}" for name in SETS if report.cases.get(name)]
    facts = (
        ("Bundle", manifest.name),
        ("Source", manifest.source.model),
        (f"Reference {report.metric.replace('_', ' ')}", f"{report.reference_metric:.4f}"),
        ("Texts", ", ".join(texts) or "none"),
        ("Judged on", ", ".join(places) or "nothing"),
    )
    return element(
        "header",
        element("div", _SIGNS[report.verdict], class_="seal", aria_hidden="true"),
        element(
            "div",
            element(
                "p",
                f"{verdict_word(report.verdict)} · parity with PyTorch float32",
                class_="eyebrow",
            ),
            element("h1", headline(report)),
        ),
        element("p", lead(report), class_="lead", style="grid-column: 1 / -1"),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
            class_="facts",
        ),
        class_=f"verdict {report.verdict}",
    )


def _in_short(report: ParityReport) -> Html:
    """What passed, what did not and why, and what nobody certified."""
    cards = []
    for verdict, title in (
        ("fail", "Must not be released"),
        ("unknown", "Not certified"),
        ("pass", "Certified on these machines"),
    ):
        found = [artifact for artifact in report.artifacts if artifact.verdict == verdict]
        if found:
            items = [_short_item(artifact, report) for artifact in found]
            cards.append(
                element(
                    "section",
                    element("h3", title, class_=verdict),
                    element("ul", *items),
                    class_="card",
                )
            )
    limits = [element("li", line) for line in scope(report)]
    cards.append(
        element(
            "section",
            element("h3", "What this does not certify"),
            element("ul", *limits),
            class_="card",
        )
    )
    return element("div", *cards, class_="columns")


def _short_item(artifact: ArtifactReport, report: ParityReport) -> Html:
    why = reasons(artifact, report)
    shown = 2 if sum(a.verdict != "pass" for a in report.artifacts) <= 4 else 1
    lines = [element("li", line) for line in why[:shown]]
    if (left := len(why) - shown) > 0:
        lines.append(element("li", f"and {left} more, below", class_="muted"))
    bound = max((entry.bound for entry in artifact.per_label), default=None)
    sure = f" at most {percent(bound)} of answers differ" if not why and bound is not None else None
    return element(
        "li",
        element("b", name_of(artifact, report)),
        element("small", sure) if sure else None,
        element("ul", *lines) if lines else None,
    )


def _main(
    report: ParityReport,
    manifest: Manifest,
    specs: dict[str, ArtifactSpec],
    links: list[str],
    cards: list[Html],
) -> list[Html]:
    parts = [
        element("h2", "All artifacts"),
        element("div", overview(report, specs, links), class_="card"),
    ]
    paths = list(dict.fromkeys(found.path for found in report.artifacts))
    several = [
        (path, [found for found in report.artifacts if found.path == path]) for path in paths
    ]
    side = [
        element("section", element("h3", path), machines(found, manifest.task), class_="card")
        for path, found in several
        if len(found) > 1
    ]
    if side:
        parts += [
            element("h2", "Machines side by side"),
            element(
                "p",
                "Each column is judged by limits of its own; unlike machines are not "
                "expected to agree to the last bit.",
                class_="muted",
            ),
            *side,
        ]
    parts += [element("h2", "One by one"), *cards]
    parts += [element("h2", "How to repeat this"), _repeat(report)]
    return parts


def _artifact(
    found: ArtifactReport,
    report: ParityReport,
    golden: Golden,
    manifest: Manifest,
    spec: ArtifactSpec | None,
    link: str,
    budget: int,
    layers: Sequence[LayerPoint],
    *,
    unfold: bool,
) -> Html:
    """Everything about one artifact on one machine."""
    task = manifest.task
    comparison = compare(found, golden, task)
    plots: list[Plot | None] = []
    if comparison.cases:
        plots = [
            error_histogram(f"{link}-errors", found, comparison),
            logit_scatter(f"{link}-logits", comparison, budget),
        ]
        if not task.gives_vectors:
            plots.append(margin_plot(f"{link}-margins", comparison, task, budget))
            plots.append(reliability_diagram(f"{link}-reliability", comparison, task))
    if layers:
        plots.append(layer_plot(f"{link}-layers", layers))
    shown = [plot.figure() for plot in plots if plot is not None]
    used = [name for index, name in enumerate(SETS) if (comparison.sets == index).any()]
    about = [found.recipe, found.evidence.machine.name]
    if spec is not None:
        about += [f"{spec.format} {spec.precision}", size(spec.bytes)]
    summary = element(
        "summary",
        element("h3", found.path),
        chip(found.verdict),
        element("small", " · ".join(about)),
    )
    body = element(
        "div",
        _why(found, report),
        element("h4", "Checks") if found.checks else None,
        checks_table(found) if found.checks else element("p", "No limit applies here."),
        element("p", bound_words(found)),
        element("p", _VECTORS) if task.gives_vectors else None,
        _legend(used) if shown else None,
        element("div", *shown, class_="plots"),
        *(() if task.gives_vectors else _by_label(found, comparison, task)),
        element("h4", "Where it ran"),
        _environment(found),
        class_="body",
        id=link,
    )
    return element(
        "details",
        summary,
        body,
        class_=f"artifact {found.verdict}",
        open="open" if unfold else None,
    )


def _by_label(
    found: ArtifactReport, comparison: Comparison, task: TaskSpec
) -> tuple[Html | None, ...]:
    return (
        changed_answers(comparison, task),
        label_flips(found),
        worst_table(comparison, task),
    )


def _why(found: ArtifactReport, report: ParityReport) -> Html | None:
    """Every reason against the artifact, and what to do about them."""
    items = [element("li", line) for line in reasons(found, report)]
    if not items:
        return None
    steps = dict.fromkeys(advice(check) for check in missed(found))
    if steps:
        todo = element("ul", *(element("li", with_code(f"{_sentence(step)}.")) for step in steps))
        items.append(element("li", "What to do", todo, class_="next"))
    tone = "fail" if found.verdict == "fail" else "unknown"
    return element("ul", *items, class_=f"why {tone}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _legend(used: list[str]) -> Html:
    items = [
        element(
            "li",
            element(
                "svg",
                element("circle", cx="6", cy="6", r="5", class_=f"fill {name}"),
                viewBox="0 0 12 12",
                aria_hidden="true",
            ),
            _SET_NAMES[name],
        )
        for name in used
    ]
    cross = element("path", d="M2 2l8 8m0-8l-8 8", class_="flip")
    items.append(
        element(
            "li", element("svg", cross, viewBox="0 0 12 12", aria_hidden="true"), "answer flipped"
        )
    )
    return element("ul", *items, class_="legend")


def _environment(found: ArtifactReport) -> Html:
    machine = found.evidence.machine
    pairs = {
        "machine": machine.name,
        "instruction sets": ", ".join(machine.features) or "not told",
        "emulator": machine.emulator or "none",
        **{key.replace("_", " "): value for key, value in found.environment.items()},
        "texts that ran": f"{len(found.evidence.rows):,}",
        "SHA-256": found.evidence.sha256,
    }
    if found.lengths:
        pairs["texts per length"] = ", ".join(f"{n}: {c:,}" for n, c in found.lengths.items())
    if found.not_measured:
        pairs["not measured there"] = ", ".join(found.not_measured)
    return element(
        "dl",
        *(join(element("dt", name), element("dd", value)) for name, value in pairs.items()),
        class_="pairs",
    )


def _repeat(report: ParityReport) -> Html:
    return element(
        "div",
        element(
            "p", "BUNDLE is the bundle's folder. The figures and the verdict come out the same."
        ),
        element("pre", "\n".join(commands(report))),
        class_="card",
    )
