"""The counted padding is what the real batches hold."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

from export.data.task import TextDataset
from export.tokenizer_training import train_wordpiece
from export.training.batches import EpochBatches
from export.training.features import Features, PadToLongest
from export.training.padding import padded_shares
from runtime.errors import UserError


def test_by_hand() -> None:
    # One batch of all four: 4 + 4 + 2 + 2 ids in 16 places.
    found = padded_shares([4, 2, 4, 2], batch_size=4, max_length=8, seed=1)
    assert found.random == found.grouped == pytest.approx(1 - 12 / 16)
    assert found.to_maximum == pytest.approx(1 - 12 / 32)
    assert found.texts == 4


def test_nothing_to_pad() -> None:
    found = padded_shares([5] * 9, batch_size=4, max_length=5, seed=1)
    assert (found.to_maximum, found.random, found.grouped) == (0, 0, 0)


def test_grouping_pays_on_mixed_lengths() -> None:
    lengths = [4 + (17 * i) % 60 for i in range(800)]
    found = padded_shares(lengths, batch_size=16, max_length=64, seed=3)
    assert found.grouped < 0.1 < found.random < found.to_maximum
    assert found == padded_shares(lengths, batch_size=16, max_length=64, seed=3)
    other = padded_shares(lengths, batch_size=16, max_length=64, seed=4)
    assert found.grouped != other.grouped


def test_the_share_is_that_of_real_batches(weather: TextDataset) -> None:
    rows = weather.splits["train"]
    tokenizer = train_wordpiece((e.text for e in rows), 200)
    features = Features(rows, tokenizer, max_length=32, labels=3, multi_label=False)
    lengths = [len(features[i]["input_ids"]) for i in range(len(features))]
    batches = EpochBatches(len(lengths), 8, lengths=lengths, seed=5)
    masks = [
        batch["attention_mask"]
        for batch in DataLoader(features, batch_sampler=batches, collate_fn=PadToLongest(0))
    ]
    padding = sum(int((mask == 0).sum()) for mask in masks)
    expected = padding / sum(mask.numel() for mask in masks)
    found = padded_shares(lengths, batch_size=8, max_length=32, seed=5)
    assert found.grouped == pytest.approx(expected)


def test_two_processes_share_the_padding_of_a_doubled_batch() -> None:
    lengths = [4 + (17 * i) % 60 for i in range(803)]
    one = padded_shares(lengths, batch_size=8, max_length=64, seed=3, accumulation=2)
    two = padded_shares(lengths, batch_size=8, max_length=64, seed=3, processes=2)
    assert two.grouped == pytest.approx(one.grouped, abs=0.01)
    assert two.random == pytest.approx(one.random, abs=0.01)


def test_the_line_names_the_chosen_mode_first() -> None:
    found = padded_shares([4, 2, 4, 2], batch_size=4, max_length=8, seed=1)
    assert found.sentence("grouped") == (
        "Padding: 25% of all ids, batches of like length "
        "(random batches 25%, all filled up to 8 ids 62%)."
    )
    assert found.sentence("to_maximum").startswith("Padding: 62% of all ids, all filled up to 8")
    assert found.share("random") == found.random


def test_bad_lengths_are_refused() -> None:
    with pytest.raises(UserError, match="no training texts"):
        padded_shares([], batch_size=4, max_length=8, seed=1)
    with pytest.raises(UserError, match="a text has 9 ids"):
        padded_shares([3, 9], batch_size=4, max_length=8, seed=1)
