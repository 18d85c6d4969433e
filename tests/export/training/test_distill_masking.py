from __future__ import annotations

from typing import Literal

import pytest
import torch
from scipy.stats import binom
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from export.tokenizer_training import train_wordpiece
from export.training.distill.masking import VALIDATION_EPOCH, MaskedTexts, PadMasked
from export.training.features import IGNORED, PadToLongest
from runtime.errors import UserError

from support import weather_rows

TEXTS = [text for text, _ in weather_rows()]


def masked(*, seed: int = 13, texts: list[str] | None = None) -> MaskedTexts:
    tokenizer = train_wordpiece(TEXTS, 300)
    return MaskedTexts(TEXTS if texts is None else texts, tokenizer, max_length=32, seed=seed)


def hidden(dataset: MaskedTexts, epoch: int) -> list[list[int]]:
    dataset.epoch = epoch
    rows = [dataset[i]["labels"] for i in range(len(dataset))]
    return [[i for i, label in enumerate(row) if label != IGNORED] for row in rows]


def test_fifteen_percent_are_hidden_and_most_become_the_mask() -> None:
    """Counts of 1440 texts lie within the binomial's central 99.98 %."""
    dataset = masked()
    tokenizer = train_wordpiece(TEXTS, 300)
    mask_id = tokenizer.token_to_id("[MASK]")
    real = chosen = as_mask = kept = 0
    for index, text in enumerate(TEXTS):
        ids = tokenizer.encode(text).ids
        row = dataset[index]
        real += len(ids) - 2
        for true, shown, label in zip(ids, row["input_ids"], row["labels"], strict=True):
            if label == IGNORED:
                assert shown == true
                continue
            assert label == true
            chosen += 1
            as_mask += shown == mask_id
            kept += shown == true
    for count, total, share in ((chosen, real, 0.15), (as_mask, chosen, 0.8)):
        low, high = binom.interval(0.9998, total, share)
        assert low <= count <= high
    # 10 % stay, and a random token is the true one now and then (1 in 300).
    low, high = binom.interval(0.9998, chosen, 0.1 + 0.1 / 300)
    assert low <= kept <= high


def test_special_tokens_are_never_hidden() -> None:
    dataset = masked()
    for epoch in range(5):
        dataset.epoch = epoch
        for index in range(200):
            row = dataset[index]
            assert row["labels"][0] == row["labels"][-1] == IGNORED


def test_masks_change_from_epoch_to_epoch_and_come_back() -> None:
    dataset = masked()
    first, second, fixed = (hidden(dataset, epoch) for epoch in (0, 1, VALIDATION_EPOCH))
    differing = sum(a != b for a, b in zip(first, second, strict=True))
    assert differing > 0.6 * len(TEXTS)
    assert first != fixed
    # The same epoch again, in any order and from a dataset made anew: what a resumed run needs.
    again = masked()
    again.epoch = 1
    assert [i for i, t in enumerate(again[77]["labels"]) if t != IGNORED] == second[77]
    assert hidden(masked(seed=14), 0) != first


def test_padding_is_not_hidden() -> None:
    dataset = masked(texts=["the sky is bright today", "snow"])
    sides: tuple[Literal["right", "left"], ...] = ("right", "left")
    for side in sides:
        batch = PadMasked(PadToLongest(0, side))([dataset[0], dataset[1]])
        assert batch["input_ids"].shape == batch["labels"].shape == (2, 7)
        assert batch["attention_mask"].sum(dim=1).tolist() == [7, len(dataset[1]["input_ids"])]
        pads = batch["attention_mask"] == 0
        assert (batch["labels"][pads] == IGNORED).all()
        assert (batch["input_ids"][pads] == 0).all()
        assert bool(pads[1, 0]) == (side == "left")
        assert batch["input_ids"].dtype == torch.int64


def test_a_tokenizer_without_a_mask_token() -> None:
    with pytest.raises(UserError, match=r"neither \[MASK\] nor <mask>"):
        MaskedTexts(["a"], Tokenizer(WordLevel({"a": 0})), max_length=8, seed=1)
