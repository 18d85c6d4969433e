"""The three ways of padding that the benchmark compares do the same work but for the padding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from export.data.task import TextDataset
from export.training.padding_benchmark import MODES, Training, compare
from runtime.errors import UserError

from support import TINY_SETTINGS


@pytest.fixture(scope="module")
def few(weather: TextDataset) -> TextDataset:
    return replace(weather, splits={name: rows[:100] for name, rows in weather.splits.items()})


def test_the_modes_differ_in_padding_alone(few: TextDataset) -> None:
    texts: dict[str, list[list[int]]] = {}
    padding: dict[str, float] = {}
    for mode in MODES:
        batches = list(Training(few, TINY_SETTINGS, mode, epochs=1).batches(0))
        assert len(batches) == 4  # of 32
        masks = [batch["attention_mask"] for batch in batches]
        if mode == "to_maximum":
            assert {mask.shape[1] for mask in masks} == {TINY_SETTINGS.max_length}
        else:
            assert all(int(mask.sum(1).max()) == mask.shape[1] for mask in masks)
        padding[mode] = 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)
        texts[mode] = sorted(
            row[keep.bool()].tolist()
            for batch in batches
            for row, keep in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        )
        shares = Training(few, TINY_SETTINGS, mode, epochs=1).shares
        assert padding[mode] == pytest.approx(shares.share(mode))
    assert texts["to_maximum"] == texts["random"] == texts["grouped"]
    assert padding["grouped"] <= padding["random"] < padding["to_maximum"]


def test_padding_changes_no_loss(few: TextDataset) -> None:
    """The first step's logits, filled up to the maximum and not, are the same."""
    logits = []
    for mode in ("to_maximum", "random"):
        training = Training(few, TINY_SETTINGS, mode, epochs=1)  # type: ignore[arg-type]
        batch = next(training.batches(0))
        batch.pop("labels")
        with torch.inference_mode():
            logits.append(training.model.eval()(**batch)["logits"])
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=0)


def test_one_round(few: TextDataset) -> None:
    shares, results = compare(few, TINY_SETTINGS, rounds=1, epochs=2)
    assert [found.mode for found in results] == list(MODES)
    for found in results:
        assert len(found.wall) == len(found.cpu) == 2
        assert min(found.wall) > 0
        assert len(found.metric) == 1
        assert 0 <= found.metric[0] <= 1
    assert shares.texts == 100
    with pytest.raises(UserError, match="no rounds"):
        compare(few, TINY_SETTINGS, rounds=0, epochs=1)
