"""Names and meanings of figures, and how they are written for people."""

from __future__ import annotations

from export.training.record import TrainingRecord
from runtime.parity.report.formats import short
from runtime.parity.report.markup import Html, element

# Figure → its name and what it is, in the order of the page.
MEANINGS: dict[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "share of texts with the right label"),
    "exact_match": ("exact match", "share of texts whose labels are all right"),
    "hamming_score": ("Hamming score", "1 − Hamming loss: share of (text, label) decisions"),
    "jaccard_samples": (
        "Jaccard, mean of texts",
        "|true ∩ given| / |true ∪ given|; Godbole and Sarawagi's accuracy",
    ),
    "samples_f1": ("F1, mean of texts", "F1 of each text's labels"),
    "micro_f1": ("micro F1", "over all (text, label) decisions"),
    "macro_f1": ("macro F1", "mean over the labels"),
    "weighted_f1": ("weighted F1", "mean over the labels by how often they occur"),
    "micro_precision": ("micro precision", "share of given labels that are true"),
    "macro_precision": ("macro precision", "mean over the labels"),
    "micro_recall": ("micro recall", "share of true labels that are given"),
    "macro_recall": ("macro recall", "mean over the labels"),
    "roc_auc": ("ROC-AUC", "each label against all others, mean over the labels"),
    "average_precision": ("average precision", "area under precision over recall, mean"),
    "ece": ("calibration error", "mean distance of confidence from truth, 15 bins"),
    "log_loss": ("log loss", "nats; lower is better"),
}
BASELINE_NAMES = {"bag_of_words": "bag of words", "lstm": "LSTM"}


def metric_words(record: TrainingRecord) -> str:
    """The name of the metric that chose the best epoch."""
    return MEANINGS.get(record.metric_name, (record.metric_name.replace("_", " "), ""))[0]


def number(value: float | None, digits: int = 4) -> Html:
    """Rounded to look at, exact in its value; a dash where there is none."""
    if value is None or isinstance(value, str):
        return element("span", "–", class_="muted")
    return element("data", f"{value:.{digits}f}", value=repr(float(value)))


def seconds(value: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def milliseconds(value: float | None) -> str:
    """``0.57 ms``."""
    return "–" if value is None else f"{short(value)} ms"
