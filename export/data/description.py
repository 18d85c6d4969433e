"""What a data set holds, before anything is trained on it: balance of the labels and lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from export.data.tables import listed
from export.data.task import SPLITS, TextDataset

# With fewer rows than this a label is hardly learned, and a validation figure says little.
FEW_ROWS = 10
# From this ratio of the largest class to the smallest on, class weights are worth naming.
SKEWED = 10.0
_AT_EACH_END = 5
_BAR = 24
_BLOCKS = "▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"
_BINS = 30
_NAME = 28
# Texts with longer words than this on average are not written with blanks between words.
_LONGEST_MEAN_WORD = 15.0


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many rows of each split carry a label."""

    label: str
    rows: dict[str, int]


def label_counts(dataset: TextDataset) -> tuple[LabelCount, ...]:
    """Rows per label and split, in the order of the labels."""
    counts = {
        split: Counter(label for row in dataset.splits[split] for label in row.labels)
        for split in SPLITS
    }
    return tuple(
        LabelCount(name, {split: counts[split][index] for split in SPLITS})
        for index, name in enumerate(dataset.labels)
    )


def imbalance(dataset: TextDataset) -> float:
    """Training rows of the largest label over those of the smallest that has any."""
    rows = [count.rows["train"] for count in label_counts(dataset) if count.rows["train"]]
    return max(rows) / min(rows)


def bar(share: float, width: int = _BAR) -> str:
    """A bar of block characters, an eighth of a character fine; empty for a share of 0."""
    eighths = math.ceil(max(0.0, min(1.0, share)) * width * 8 - 1e-9)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_BLOCKS[rest - 1] if rest else "")


def balance_lines(dataset: TextDataset) -> list[str]:
    """A table of the labels, largest first, with bars, and warnings about rare ones."""
    counts = sorted(label_counts(dataset), key=lambda count: (-count.rows["train"], count.label))
    shown: list[LabelCount | None] = list(counts)
    if len(counts) > 2 * _AT_EACH_END + 2:
        shown = [*counts[:_AT_EACH_END], None, *counts[-_AT_EACH_END:]]
    total = len(dataset.splits["train"])
    largest = max(count.rows["train"] for count in counts)
    width = max(5, *(len(_short(count.label)) for count in shown if count))
    lines = [f"{'label':<{width}}  {'train':>7} {'':>4} {'valid.':>7} {'test':>7}"]
    for count in shown:
        if count is None:
            lines.append(f"... {len(counts) - 2 * _AT_EACH_END} more labels ...")
            continue
        train, validation, test = (count.rows[split] for split in SPLITS)
        lines.append(
            f"{_short(count.label):<{width}}  {train:>7} {train / total:>4.0%} "
            f"{validation:>7} {test:>7}  {bar(train / largest)}".rstrip()
        )
    return [*lines, *_balance_notes(dataset, counts)]


def _balance_notes(dataset: TextDataset, counts: Sequence[LabelCount]) -> list[str]:
    notes = []
    train = dataset.splits["train"]
    if dataset.is_multi_label:
        bare = sum(not row.labels for row in train) / len(train)
        mean = sum(len(row.labels) for row in train) / len(train)
        notes.append(f"{mean:.2f} labels a training row on average; {bare:.0%} carry none.")
    ratio = imbalance(dataset)
    rare = [f"{c.label} ({c.rows['train']})" for c in counts if c.rows["train"] < FEW_ROWS]
    advice = "--class-weights balanced makes rare ones count"
    if rare:
        notes.append(
            f"warning: fewer than {FEW_ROWS} training rows: {listed(rare, 4)}; add rows; {advice}."
        )
    elif ratio >= SKEWED:
        notes.append(f"The largest label has {ratio:.0f} times the rows of the smallest; {advice}.")
    elif len(counts) > 1:
        notes.append(f"The largest label has {ratio:.1f} times the rows of the smallest.")
    return notes


def _short(name: str) -> str:
    plain = name if name.isprintable() else ascii(name)[1:-1]
    return plain if len(plain) <= _NAME else plain[: _NAME - 1] + "…"


def length_line(dataset: TextDataset) -> str:
    """How long the training texts are, in words, or in characters where words have no blanks."""
    texts = [row.text for row in dataset.splits["train"]]
    words = [len(text.split()) for text in texts]
    letters = [len(text) for text in texts]
    if sum(letters) > _LONGEST_MEAN_WORD * sum(words):
        return histogram_line("characters", letters)
    return histogram_line("words", words)


def histogram_line(unit: str, lengths: Sequence[int]) -> str:
    """Quantiles and a histogram of lengths on one line.

    Args:
        unit: what was counted, in the plural.
        lengths: one for each text, at least one text.
    """
    import numpy as np  # `export.data` itself imports nothing heavy

    values = np.asarray(lengths)
    low, end = int(values.min()), int(np.quantile(values, 0.99))
    # Whole widths: bins that hold now one and now two lengths would draw a comb.
    width = -(-(end - low + 1) // _BINS)
    bins = np.bincount((np.clip(values, low, end) - low) // width)
    picture = "".join(" " if not n else _SPARKS[int(7 * n / bins.max())] for n in bins)
    beyond = "+" if values.max() > end else ""
    return (
        f"{unit} a text: {low} |{picture}| {end}{beyond}   half up to {np.median(values):.0f}, "
        f"95% up to {np.quantile(values, 0.95):.0f}, longest {values.max()}"
    )
