"""Figures of parity from the logits of a run, for classifiers and for sentence vectors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.bench.accuracy import as_logits, parity_figures, sequences_of
from runtime.bundle import GOLDEN, Bundle
from runtime.golden import Golden, read_golden
from runtime.manifest import TaskSpec

# What the tables read.
SHOWN = ("flips", "decisions", "flip_rate_bound", "max_rel")


@pytest.fixture
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.file(GOLDEN))


def test_the_references_own_logits_agree_with_it(golden: Golden, bundle: Bundle) -> None:
    found = parity_figures(golden, golden.reference, bundle.manifest.task)
    assert found["flips"] == found["other_flips"] == found["max_abs"] == 0.0


def test_exchanged_labels_flip_every_text_that_they_decide(golden: Golden, bundle: Bundle) -> None:
    swapped = golden.reference[:, ::-1].copy()
    found = parity_figures(golden, swapped, bundle.manifest.task)
    # Three labels: the middle one stays where it is.
    natural = [c.set in ("validation", "unlabelled") for c in golden.cases]
    assert found["flips"] == (golden.reference[natural].argmax(axis=1) != 1).sum()
    assert found["flips"] > 0


def test_vectors_have_the_figures_that_the_tables_read(golden: Golden) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((len(golden.cases), 8)).astype(np.float32)
    task = TaskSpec("embedding", "l2", (), pooling="mean")
    own = replace(golden, reference=vectors)
    same, other = (parity_figures(own, v, task) for v in (vectors, vectors[::-1].copy()))
    assert all(not math.isnan(same[name]) for name in SHOWN)
    assert same["flips"] == 0.0
    assert other["flips"] > 0


def test_logits_of_another_shape_are_refused(golden: Golden) -> None:
    rows = golden.reference.tolist()
    assert as_logits(rows, golden).shape == golden.reference.shape
    with pytest.raises(ValueError, match="instead of"):
        as_logits(rows[:-1], golden)
    assert sequences_of(golden)[0] == list(golden.cases[0].input_ids)
