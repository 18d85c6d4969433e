"""A few lines on the training run, for the bundle's card."""

from __future__ import annotations

from export.training.record import TrainingRecord
from export.training.report.words import BASELINE_NAMES, metric_words, milliseconds
from runtime.console import megabytes


def training_markdown(record: TrainingRecord) -> str:
    """A table of the model and its baselines on the test split; empty where there are none."""
    if not record.baselines:
        return ""
    name = record.metric_name
    cost = record.transformer
    lines = [
        f"| on test | {metric_words(record)} | macro F1 | one text | float32 size |",
        "| --- | --- | --- | --- | --- |",
        _line(
            "this model, before export",
            record.test,
            name,
            cost.prediction_ms_per_text if cost else None,
            cost.bytes if cost else None,
        ),
    ]
    lines += [
        _line(
            BASELINE_NAMES.get(row["name"], row["name"]),
            row["metrics"].get("test", {}),
            name,
            row.get("prediction_ms_per_text"),
            row.get("bytes"),
        )
        for row in record.baselines
    ]
    note = "Time: median from text to logits where it was trained, on one thread, not on a phone."
    if record.thresholds:
        note += " Thresholds of all of them were tuned on the validation split."
    return "\n".join([*lines, "", note])


def _line(
    title: str, test: dict[str, float], name: str, prediction: float | None, size: int | None
) -> str:
    scores = (f"{test[key]:.4f}" if key in test else "–" for key in (name, "macro_f1"))
    cells = (title, *scores, milliseconds(prediction), "–" if size is None else megabytes(size))
    return f"| {' | '.join(cells)} |"
