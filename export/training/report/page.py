"""The training run as one HTML page that needs nothing else: no script, no network, no clock."""

from __future__ import annotations

import base64

from export.data.task import SPLITS
from export.training.evaluation import Evaluation
from export.training.record import TrainingRecord
from export.training.report.confusion import confusion_picture, confusions_table
from export.training.report.reliability import reliability_plot
from export.training.report.sections import (
    comparison_table,
    data_pairs,
    epochs_table,
    extra_pairs,
    figures_table,
    labels_table,
    pairs,
    settings_pairs,
)
from export.training.report.words import BASELINE_NAMES, metric_words
from runtime.parity.report.markup import Html, element, shown_text
from runtime.parity.report.shell import whole_page

_STYLE = """
main .text, .facts .text { background: none; padding: 0; }
.own > * { background: var(--pass-tint); }
.curves { background: #fff; border-radius: 8px; width: 100%; height: auto; display: block; }
.confusion svg { max-width: none; }
.cell.right { fill: var(--pass); } .cell.wrong { fill: var(--fail); }
.strip-row { fill: var(--faint); fill-opacity: .4; } .strip-row.odd { fill-opacity: .9; }
svg .count { fill: var(--ink); stroke: none; } svg .count.light { fill: var(--card); }
.both { display: grid; gap: 1rem 2rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 64rem) { .both { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } }
.both { align-items: start; } .both .plots { align-content: start; }
td > data { white-space: nowrap; }
"""
# Entries of training.json that some runs have, and what they are headed by.
_EXTRAS = {"distillation": "Teacher and student", "quantization": "Tuned for a recipe's rounding"}
# A matrix of more classes takes the whole width.
_BESIDE_UP_TO = 20


def training_page(record: TrainingRecord, name: str, curves: bytes | None) -> str:
    """Draw the page; whatever a label or a name holds, it stays text.

    Args:
        record: of a finished run.
        name: of the checkpoint, for the title.
        curves: a PNG, None where it could not be drawn.

    Returns:
        A whole document that can be written as UTF-8; the same record gives the same text.
    """
    found = {
        split: Evaluation.from_json(record.evaluation[split])
        for split in SPLITS
        if split in record.evaluation
    }
    title = f"Training of {name}"
    parts: list[Html | None] = []
    if record.baselines:
        parts += [
            element("h2", "What the transformer buys"),
            _card(comparison_table(record), *_comparison_notes(record)),
        ]
    for entry, heading in _EXTRAS.items():
        if told := extra_pairs(record, entry):
            parts += [element("h2", heading), _card(pairs(told))]
    parts += [
        element("h2", "Curves"),
        _card(_curves(record, curves)),
        element("h2", "Epochs"),
        _card(epochs_table(record), element("p", _kept(record), class_="muted")),
    ]
    if found:
        parts += [element("h2", "Scores"), _card(figures_table(found), _tuned(record))]
    if "test" in found:
        parts += _by_label(found["test"])
    parts += [
        element("h2", "How to repeat it"),
        element(
            "div",
            _card(element("h3", "Data"), pairs(data_pairs(record))),
            _card(element("h3", "Settings"), pairs(settings_pairs(record))),
            _card(element("h3", "Versions"), pairs(record.versions)),
            class_="columns",
        ),
    ]
    body = element(
        "div",
        _banner(record, title),
        element("main", *parts),
        element(
            "footer",
            "Every figure is in training.json beside this page, and here in each number's value "
            "attribute.",
        ),
        class_="wrap",
    )
    return whole_page(title, body, style=_STYLE)


def beaten_by(record: TrainingRecord) -> list[str]:
    """Baselines that are as good as the model on the test split, or better."""
    own = record.test.get(record.metric_name, 0.0)
    return [name for name, value in record.baseline_test.items() if value >= own]


def _banner(record: TrainingRecord, title: str) -> Html:
    name = record.metric_name
    words = metric_words(record)
    better = beaten_by(record)
    tone = "unknown" if better else "pass"
    score = record.test.get(name)
    headline = f"{words} {score:.4f} on test" if score is not None else title
    others = ", ".join(
        f"{BASELINE_NAMES.get(baseline, baseline)} {value:.4f}"
        for baseline, value in record.baseline_test.items()
    )
    lead = f"Beside it: {others}." if others else ""
    if better:
        lead += " The transformer does not beat every baseline on this data."
    rows = record.data.get("rows", {})
    facts = (
        ("Started from", record.model),
        ("Family", record.family),
        ("Data", str(record.data["name"])),
        ("Training texts", f"{rows['train']:,}" if "train" in rows else "–"),
        ("Epochs", f"{len(record.epochs)}, kept {record.best_epoch}"),
        ("Tuning", "head only" if record.tuning == "head" else "whole model"),
    )
    return element(
        "header",
        element("div", "✓" if not better else "!", class_="seal", aria_hidden="true"),
        element("div", element("p", title, class_="eyebrow"), element("h1", headline)),
        element("p", lead, class_="lead", style="grid-column: 1 / -1") if lead else None,
        element(
            "dl",
            *(
                element("div", element("dt", key), element("dd", shown_text(value)))
                for key, value in facts
            ),
            class_="facts",
        ),
        class_=f"verdict {tone}",
    )


def _comparison_notes(record: TrainingRecord) -> list[Html]:
    notes = [
        "Bag of words: tf-idf of single words and a logistic regression. LSTM: a small "
        "bidirectional one, trained from scratch on the same texts.",
        "Time of one text: median, from text to logits, on one thread. Sizes: float32 weights and "
        "words, before any export.",
    ]
    if record.data.get("multi_label"):
        same = "tuned on the validation split" if record.thresholds else "0.5"
        notes.append(f"Thresholds of all of them are {same}, for a fair comparison.")
    return [element("p", text, class_="muted") for text in notes]


def _curves(record: TrainingRecord, curves: bytes | None) -> Html:
    if curves is None:
        return element(
            "p",
            "No curves: matplotlib was not installed when this page was made. Install it with "
            "pip install 'mobile-export[report]', then run mobile-export report on this folder.",
        )
    data = base64.b64encode(curves).decode("ascii")
    words = (
        f"Loss, validation {metric_words(record)} and learning rate over {len(record.epochs)} "
        "epochs; the table below has the numbers."
    )
    # <img> has no end tag.
    picture = element("img", src=f"data:image/png;base64,{data}", alt=words, class_="curves")
    return Html(picture.removesuffix("></img>") + "/>")


def _kept(record: TrainingRecord) -> str:
    text = f"Epoch {record.best_epoch} was kept: the best {metric_words(record)} "
    text += "on validation, and of equals the smallest loss."
    if record.thresholds:
        text += " While training, every threshold is 0.5; the scores below use the tuned ones."
    return text


def _tuned(record: TrainingRecord) -> Html | None:
    if not record.data.get("multi_label"):
        return None
    if record.thresholds is None:
        return element("p", "A label is given from a probability of 0.5 on.", class_="muted")
    return element(
        "p",
        "Thresholds were tuned on the validation split, so its scores flatter; the test split's "
        "do not.",
        class_="muted",
    )


def _by_label(found: Evaluation) -> list[Html | None]:
    names = [row.label for row in found.per_label]
    parts: list[Html | None] = [
        element("h2", "Label by label, on test"),
        _card(labels_table(found)),
    ]
    plot = reliability_plot(found)
    if found.confusion is None:
        return [*parts, element("h2", "Confidence, on test"), _card(_framed(plot))]
    matrix = element(
        "figure",
        element(
            "figcaption",
            element("b", "What was taken for what?"),
            element("span", "Rows: truth; columns: what was given. Hover for numbers."),
        ),
        confusion_picture(names, found.confusion),
    )
    mistakes = confusions_table(names, found.confusion)
    side = element(
        "div",
        element("h4", "Commonest mistakes"),
        mistakes or element("p", "none"),
        _framed(plot),
    )
    parts.append(element("h2", "Confusion and confidence, on test"))
    if len(names) > _BESIDE_UP_TO:
        return [*parts, _card(_framed(matrix)), _card(side)]
    return [*parts, _card(element("div", _framed(matrix), side, class_="both"))]


def _framed(figure: Html) -> Html:
    """With the grid that the page's style gives its figures."""
    return element("div", figure, class_="plots")


def _card(*children: Html | None) -> Html:
    return element("section", *children, class_="card")
