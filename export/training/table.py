"""What a fine-tuning run came to, for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from export.training.conclude import FineTuned
from export.training.record import TrainingRecord
from export.training.report import PAGE
from export.training.report.page import beaten_by
from export.training.report.words import BASELINE_NAMES, metric_words, milliseconds, seconds
from runtime.console import megabytes, out


def print_training(result: FineTuned) -> None:
    """A table of the epochs, and one of the best epoch's scores with the baselines beside them."""
    record = result.record
    out.print(_epochs(record))
    kept = f"kept epoch {record.best_epoch}{', stopped early' if record.stopped_early else ''}"
    if record.thresholds:
        low, high = min(record.thresholds), max(record.thresholds)
        kept += f"; thresholds tuned on validation, {low:.2f} to {high:.2f}, in place of 0.5 above"
    out.print(f"{kept}; {seconds(result.seconds)} in all", soft_wrap=True)
    if record.baselines:
        out.print(_comparison(record))
    for name in beaten_by(record):
        words = BASELINE_NAMES.get(name, name)
        out.print(f"[yellow]the transformer does not beat the {words} on this data[/]")
    size = sum(file.stat().st_size for file in result.checkpoint.iterdir())
    out.print(f"wrote {result.checkpoint} ({megabytes(size)})", markup=False, soft_wrap=True)
    if (page := result.checkpoint / PAGE).is_file():
        out.print(f"report: {page}", markup=False, soft_wrap=True)


def _epochs(record: TrainingRecord) -> Table:
    name = metric_words(record)
    terms = list(dict.fromkeys(term for epoch in record.epochs for term in epoch.terms))
    table = Table()
    for column in (
        "epoch", "training loss", *terms, "validation loss", f"validation {name}", "time",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for epoch in record.epochs:
        table.add_row(
            f"{epoch.number}{' ←' if epoch.number == record.best_epoch else '  '}",
            f"{epoch.training_loss:.4f}",
            *(f"{epoch.terms[term]:.4f}" if term in epoch.terms else "–" for term in terms),
            f"{epoch.validation_loss:.4f}",
            f"{epoch.metric:.4f}",
            seconds(epoch.seconds),
        )
    return table


def _comparison(record: TrainingRecord) -> Table:
    metric = record.metric_name
    table = Table()
    table.add_column("")
    words = metric_words(record)
    columns = (f"{words} val", "test", "macro F1 test", "training", "one text", "size")
    for column in (*columns, "parameters"):
        table.add_column(column, justify="right")
    cost = record.transformer
    table.add_row(
        Text(record.model),
        _score(record.validation.get(metric)),
        _score(record.test.get(metric)),
        _score(record.test.get("macro_f1")),
        seconds(cost.training_seconds if cost else None),
        milliseconds(cost.prediction_ms_per_text if cost else None),
        megabytes(cost.bytes) if cost else "–",
        f"{cost.parameters:,}" if cost else "–",
    )
    for row in record.baselines:
        validation, test = (row["metrics"].get(split, {}) for split in ("validation", "test"))
        table.add_row(
            Text(BASELINE_NAMES.get(row["name"], row["name"])),
            _score(validation.get(metric)),
            _score(test.get(metric)),
            _score(test.get("macro_f1")),
            seconds(row.get("training_seconds")),
            milliseconds(row.get("prediction_ms_per_text")),
            megabytes(row["bytes"]) if "bytes" in row else "–",
            f"{row['parameters']:,}" if "parameters" in row else "–",
        )
    return table


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
