from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import DistilBertConfig

from export.data.task import TextDataset
from export.families import families
from export.settings import (
    FROM_SCRATCH,
    FULL,
    FULL_FROM_SCRATCH,
    FULL_SIZE,
    PRETRAINED,
    FineTuneSettings,
    ModelSize,
    lengths_up_to,
)
from export.training.model import starting_point
from runtime.errors import UserError

SMALL_TABLE = ModelSize(vocab_size=300, dim=32, layers=1, heads=4, hidden_dim=64)


@pytest.mark.parametrize(
    ("longest", "wanted", "found"),
    [
        (128, (), (32, 64, 128)),
        (48, (), (32, 48)),
        (32, (), (32,)),
        (256, (128, 32), (32, 128, 256)),
        (64, (64,), (64,)),
    ],
)
def test_lengths_end_with_the_longest(
    longest: int, wanted: tuple[int, ...], found: tuple[int, ...]
) -> None:
    assert lengths_up_to(longest, wanted) == found


@pytest.mark.parametrize("wanted", [(2,), (0, 32), (-1,), (32, 129)])
def test_lengths_that_no_text_has_are_refused(wanted: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="no artifact can be made for texts of"):
        lengths_up_to(128, wanted)


def test_full_has_the_sizes_of_distilbert() -> None:
    usual = DistilBertConfig()
    named = dict(families()["distilbert"].sizes(FULL_SIZE))
    # The head's dropout is no size; transformers sets it higher.
    named.pop("seq_classif_dropout")
    assert {name: getattr(usual, name) for name in named} == named
    assert usual.vocab_size == FULL_SIZE.vocab_size
    assert usual.max_position_embeddings == FULL_SIZE.positions


def test_full_starts_with_every_row_of_its_tables(weather: TextDataset) -> None:
    start = starting_point(FineTuneSettings(model=FULL, max_length=64), weather)
    weights = start.model.state_dict()
    assert weights["distilbert.embeddings.word_embeddings.weight"].shape == (30_522, 768)
    assert weights["distilbert.embeddings.position_embeddings.weight"].shape == (512, 768)
    assert sum(p.numel() for p in start.model.parameters()) > 66_000_000
    assert start.tokenizer.get_vocab_size() == 30_522
    assert start.name == "full-distilbert"


def test_each_start_has_hyperparameters_of_its_own() -> None:
    settings = FineTuneSettings()
    assert settings.effective == FROM_SCRATCH
    assert replace(settings, model="small:xlnet").effective == FROM_SCRATCH
    assert replace(settings, model=FULL).effective == FULL_FROM_SCRATCH
    assert replace(settings, model="folder").effective == PRETRAINED


def test_what_decides_tells_sizes_apart() -> None:
    """A finished checkpoint is found again by this: of `full`, changed small sizes say nothing."""
    small = FineTuneSettings()
    full = replace(small, model=FULL)
    other = {"small": SMALL_TABLE}
    assert small.what_decides() != replace(small, **other).what_decides()
    assert full.what_decides() == replace(full, **other).what_decides()
    assert full.what_decides()["small"] != small.what_decides()["small"]
