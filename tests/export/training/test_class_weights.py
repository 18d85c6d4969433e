from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from export.data.task import Example, TextDataset
from export.training.class_weights import LARGEST_POSITIVE_WEIGHT, balanced_weights


def dataset(rows: list[tuple[int, ...]], labels: int, kind: str) -> TextDataset:
    examples = tuple(Example(f"text {i}", row) for i, row in enumerate(rows))
    splits = {"train": examples, "validation": examples, "test": examples}
    return TextDataset("x", kind, tuple(map(str, range(labels))), splits, (), ())  # type: ignore[arg-type]


def test_single_label_is_scikit_learns_balanced() -> None:
    rows = [(0,)] * 7 + [(1,)] * 2 + [(2,)]
    weights = balanced_weights(dataset(rows, 3, "single_label"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=[r[0] for r in rows])
    assert weights == pytest.approx(expected.tolist())
    assert np.mean([weights[row[0]] for row in rows]) == pytest.approx(1.0)


def test_a_class_without_training_texts() -> None:
    assert balanced_weights(dataset([(0,), (0,), (2,)], 3, "single_label")) == (0.75, 1.0, 1.5)


def test_multi_label_is_negatives_by_positives_with_a_cap() -> None:
    rows = [(0, 1)] * 25 + [(0,)] * 24 + [()] * 50 + [(2,)]
    weights = balanced_weights(dataset(rows, 4, "multi_label"))
    assert weights == (51 / 49, 3.0, LARGEST_POSITIVE_WEIGHT, 1.0)
    assert balanced_weights(dataset(rows, 4, "multi_label"), largest=1e9)[2] == 99.0
