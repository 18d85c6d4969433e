"""Weights that let rare labels count as much as frequent ones."""

from __future__ import annotations

from collections import Counter

from export.data.task import TextDataset

# A positive of a label with 1 in 1000 would weigh 999: a few texts would steer every step.
LARGEST_POSITIVE_WEIGHT = 20.0


def balanced_weights(
    dataset: TextDataset, *, largest: float = LARGEST_POSITIVE_WEIGHT
) -> tuple[float, ...]:
    """One weight per label, from the counts of the training split.

    Single-label: texts / (labels · texts with this label), scikit-learn's ``balanced``, of weight 1
    on average. Multi-label: negatives / positives for the positives of each label, torch's
    ``pos_weight``, never above `largest`. A label without a training text weighs 1.
    """
    rows = dataset.splits["train"]
    counts = Counter(label for row in rows for label in row.labels)
    labels = range(len(dataset.labels))
    if dataset.is_multi_label:
        return tuple(
            min(largest, (len(rows) - counts[i]) / counts[i]) if counts[i] else 1.0 for i in labels
        )
    present = sum(counts[i] > 0 for i in labels)
    return tuple(len(rows) / (present * counts[i]) if counts[i] else 1.0 for i in labels)
