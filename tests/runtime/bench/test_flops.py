"""The count of products: by hand, and by torch's own counter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from runtime.bench.flops import Architecture, Work, architecture_of
from runtime.bench.limit import Peak, bound_ms, peaks_of, product_name
from runtime.bundle import Bundle
from runtime.manifest import Manifest


def _found(manifest: Manifest) -> Architecture:
    found = architecture_of(manifest)
    assert isinstance(found, Architecture), found
    return found


def test_the_tiny_model_by_hand(bundle: Bundle) -> None:
    """Two blocks of width 64, feed-forward 128, three labels."""
    found = _found(bundle.manifest)
    block = 4 * 64 * 64 + 2 * 64 * 128
    head = 64 * 64 + 64 * 3
    assert found.whole(10) == Work(2.0 * (10 * 2 * block + head), 2 * 4.0 * 10 * 10 * 64)
    needed = 2.0 * (10 * block + 10 * 2 * 64 * 64 + 1 * (2 * 64 * 64 + 2 * 64 * 128) + head)
    assert found.needed(10) == Work(needed, 4.0 * 10 * 10 * 64 + 4.0 * 10 * 64)
    assert set(found.shapes) == {(64, 64), (64, 128), (128, 64)}


def test_full_size_distilbert_by_hand() -> None:
    """10.87 + 0.30 GFLOP at length 128, 9.37 + 0.25 of it needed (notes of the experiments)."""
    small, large = 768 * 768, 768 * 3072
    found = Architecture(0, (2 * small,) * 6, (2 * small + 2 * large,) * 6, (768,) * 6,
                         small + 768 * 4, ())  # fmt: skip
    assert found.whole(128).linear == pytest.approx(10.87e9, rel=1e-3)
    assert found.whole(128).attention == pytest.approx(0.302e9, rel=1e-3)
    assert found.needed(128).linear == pytest.approx(9.37e9, rel=1e-3)
    assert found.needed(128).attention == pytest.approx(0.252e9, rel=1e-3)


@pytest.mark.parametrize("length", [2, 17, 64])
def test_torch_counts_the_same(bundle: Bundle, checkpoint_folder: Path, length: int) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint_folder, attn_implementation="eager"
    )
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(input_ids=torch.ones((1, length), dtype=torch.int64))
    assert counter.get_total_flops() == _found(bundle.manifest).whole(length).total


def test_a_batch_is_so_many_times_the_work(bundle: Bundle) -> None:
    found = _found(bundle.manifest)
    assert found.whole(16, 8).total == 8 * found.whole(16).total
    assert found.needed(16, 8).total == 8 * found.needed(16).total


def test_one_id_needs_all_of_the_last_block(bundle: Bundle) -> None:
    found = _found(bundle.manifest)
    assert found.needed(1) == found.whole(1)


def test_a_family_that_the_formula_does_not_fit_is_refused(bundle: Bundle) -> None:
    manifest = bundle.manifest
    albert = replace(manifest, source=replace(manifest.source, family="albert"))
    assert "albert" in str(architecture_of(albert))
    bare = tuple(replace(a, weights=replace(a.weights, stored=())) for a in manifest.artifacts)
    assert "lists its weights" in str(architecture_of(replace(manifest, artifacts=bare)))


def test_peaks_are_the_best_rate_and_bounds_follow(bundle: Bundle) -> None:
    found = _found(bundle.manifest)
    flop = 2.0 * 64 * 64 * 128
    medians = {
        (product_name("float32", 64, 128), 64): 2.0,
        (product_name("float32", 64, 64), 64): 8.0,
        (product_name("int8", 64, 128), 64): 0.5,
    }
    peaks = peaks_of(found.shapes, medians)
    assert peaks["float32"] == Peak(flop / 2e-3, "64x64x128")
    assert peaks["int8"].rate == pytest.approx(4 * peaks["float32"].rate)
    work = Work(linear=8 * flop, attention=2 * flop)
    assert bound_ms(work, "float32", peaks) == pytest.approx(10 * 2.0)
    # int8 artifacts multiply their linear layers in int8 and attention in float32.
    assert bound_ms(work, "int8", peaks) == pytest.approx(8 * 0.5 + 2 * 2.0)
    assert bound_ms(work, "int8", {}) != bound_ms(work, "int8", {})  # NaN
