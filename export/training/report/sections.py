"""Tables of the training page, each from the record alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from export.data.task import SPLITS
from export.settings import FULL, SMALL
from export.training.evaluation import Evaluation
from export.training.record import TrainingRecord
from export.training.report.words import (
    BASELINE_NAMES,
    MEANINGS,
    metric_words,
    milliseconds,
    number,
    seconds,
)
from runtime.parity.report.formats import size
from runtime.parity.report.markup import Html, element, join, shown_text


def table(header: Sequence[str], rows: Sequence[Html], class_: str | None = None) -> Html:
    """A table that scrolls by itself where it is too wide."""
    head = element("tr", *(element("th", name) for name in header))
    body = element("table", element("thead", head), element("tbody", *rows), class_=class_)
    return element("div", body, class_="scroll", tabindex="0")


def pairs(values: Mapping[str, object]) -> Html:
    """Names and values, one a line."""
    lines = (
        join(element("dt", name), element("dd", shown_text(_written(value), head=600)))
        for name, value in values.items()
    )
    return element("dl", *lines, class_="pairs")


def comparison_table(record: TrainingRecord) -> Html:
    """This model and the baselines: scores, time, size."""
    name = record.metric_name
    cost = record.transformer
    own = {"validation": record.validation, "test": record.test}
    rows = [
        _compared(
            f"{record.model} (this model)",
            own,
            name,
            cost.training_seconds if cost else None,
            cost.prediction_ms_per_text if cost else None,
            cost.bytes if cost else None,
            cost.parameters if cost else None,
            class_="own",
        )
    ]
    rows += [
        _compared(
            BASELINE_NAMES.get(row["name"], row["name"]),
            row["metrics"],
            name,
            row.get("training_seconds"),
            row.get("prediction_ms_per_text"),
            row.get("bytes"),
            row.get("parameters"),
        )
        for row in record.baselines
    ]
    words = metric_words(record)
    header = ("", f"{words}, validation", f"{words}, test", "macro F1, test", "training")
    return table((*header, "one text", "size", "parameters"), rows, "compared")


def _compared(
    title: str,
    metrics: Mapping[str, Mapping[str, float]],
    name: str,
    training: float | None,
    prediction: float | None,
    count: int | None,
    parameters: int | None,
    *,
    class_: str | None = None,
) -> Html:
    test = metrics.get("test", {})
    return element(
        "tr",
        element("th", shown_text(title)),
        element("td", number(metrics.get("validation", {}).get(name)), class_="n"),
        element("td", number(test.get(name)), class_="n"),
        element("td", number(test.get("macro_f1")), class_="n"),
        element("td", seconds(training), class_="n"),
        element("td", milliseconds(prediction), class_="n"),
        element("td", "–" if count is None else size(count), class_="n"),
        element("td", "–" if parameters is None else f"{parameters:,}", class_="n"),
        class_=class_,
    )


def epochs_table(record: TrainingRecord) -> Html:
    """One row an epoch; the kept one is marked."""
    terms = list(dict.fromkeys(name for epoch in record.epochs for name in epoch.terms))
    rows = []
    for epoch in record.epochs:
        best = epoch.number == record.best_epoch
        cells = [
            number(epoch.training_loss),
            *(number(epoch.terms.get(name)) for name in terms),
            number(epoch.validation_loss),
            number(epoch.metric),
        ]
        rows.append(
            element(
                "tr",
                element("th", f"{epoch.number} ← kept" if best else str(epoch.number)),
                *(element("td", cell, class_="n") for cell in cells),
                element("td", f"{epoch.learning_rate:.2e}", class_="n"),
                element("td", seconds(epoch.seconds), class_="n"),
                class_="own" if best else None,
            )
        )
    header = ["epoch", "training loss", *(f"of it {name}" for name in terms), "validation loss"]
    header += [f"validation {metric_words(record)}", "learning rate", "time"]
    return table(header, rows)


def figures_table(evaluations: Mapping[str, Evaluation]) -> Html:
    """Every figure on every split, with its meaning and, where there is none, the reason."""
    rows = []
    for name, (title, meaning) in MEANINGS.items():
        having = [found for found in evaluations.values() if name in found.figures]
        single = all(found.kind == "single_label" for found in having)
        # For one label a text these are all the accuracy.
        if not having or (single and name.startswith("micro_")):
            continue
        why = dict.fromkeys(
            found.undefined[name] for found in evaluations.values() if name in found.undefined
        )
        rows.append(
            element(
                "tr",
                element(
                    "th", title, element("small", meaning), *(element("small", w) for w in why)
                ),
                *(
                    element("td", number(found.figures.get(name)), class_="n")
                    for found in evaluations.values()
                ),
            )
        )
    header = [f"{split} ({found.texts:,} texts)" for split, found in evaluations.items()]
    return table(("", *header), rows)


def labels_table(found: Evaluation) -> Html:
    """Every label against all others."""
    many = found.kind == "multi_label"
    rows = []
    for row in found.per_label:
        cells = [number(row.precision), number(row.recall), number(row.f1), number(row.roc_auc)]
        cells.append(number(row.average_precision))
        if many:
            cells.insert(0, number(row.threshold))
        rows.append(
            element(
                "tr",
                element("th", shown_text(row.label)),
                element("td", f"{row.support:,}", class_="n"),
                element("td", f"{row.given:,}", class_="n"),
                *(element("td", cell, class_="n") for cell in cells),
            )
        )
    header = ["label", "texts that have it", "given to", "precision", "recall", "F1", "ROC-AUC"]
    header.append("average precision")
    if many:
        header.insert(3, "threshold")
    return table(header, rows)


def settings_pairs(record: TrainingRecord) -> dict[str, object]:
    """The run's settings, the hyper-parameters in use among them."""
    settings = {k: v for k, v in record.settings.items() if k != "small"}
    values: dict[str, object] = dict(settings.pop("hyperparameters", None) or {})
    values |= settings
    kind = str(record.settings.get("model", "")).split(":")[0]
    if kind in (SMALL, FULL):
        values |= {f"{kind} {k}": v for k, v in record.settings.get("small", {}).items()}
    values |= {
        "tuning": record.tuning,
        "precision": record.precision,
        "compiled": record.compiled,
        "device": record.device,
        "processes": record.processes,
        "seed": record.seed,
        "continued from steps": ", ".join(map(str, record.resumed_from_steps)) or "never",
        "stopped early": record.stopped_early,
    }
    if record.class_weights is not None:
        values["class weights"] = ", ".join(f"{weight:.3g}" for weight in record.class_weights)
    return {name.replace("_", " "): value for name, value in values.items()}


def data_pairs(record: TrainingRecord) -> dict[str, object]:
    """What it was trained on."""
    data = record.data
    counts = data.get("rows", {})
    rows = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if split in counts)
    values: dict[str, object] = {"name": data["name"], "texts": rows or "not recorded"}
    if labels := data.get("labels"):
        values["labels"] = f"{len(labels)}: {', '.join(labels)}"
        values["labels a text"] = "any number" if data.get("multi_label") else "one"
    values["SHA-256"] = data["sha256"]
    share = record.padding.get("padded_share")
    if share is not None:
        values["padding"] = f"{share:.1%} of ids, batches {record.padding.get('mode')}"
    return values


def extra_pairs(record: TrainingRecord, entry: str) -> dict[str, object]:
    """What a run has recorded beside the usual, one level deep; empty for a run without it."""
    values: dict[str, object] = {}
    for name, value in (record.extra.get(entry) or {}).items():
        words = name.replace("_", " ")
        if isinstance(value, dict):
            values |= {f"{words}: {key.replace('_', ' ')}": part for key, part in value.items()}
        else:
            values[words] = value
    return values


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
