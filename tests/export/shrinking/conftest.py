"""One small classifier per family, with a vocabulary of more texts than the task's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from export.families import families
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.model import new_model

from support import TINY, weather_rows

SIZE = replace(TINY, vocab_size=600)
LABELS = ("rainy", "snowy", "sunny")
OTHER = (
    "quarterly earnings disappointed investors despite record revenue",
    "the parliament postponed its vote on agricultural subsidies",
    "zürich, naïve façades and a straße in żółć; 東京タワー",
    "she refactored the scheduler; throughput doubled overnight!",
) * 5


@pytest.fixture(scope="session")
def small_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family → folder; read-only."""
    texts = [text for text, _ in weather_rows()][:300]
    found = {}
    for name, family in families().items():
        torch.manual_seed(2)
        model, tokenizer = new_model(family, SIZE, (*texts, *OTHER), LABELS, max_length=48)
        folder = tmp_path_factory.mktemp("small") / name
        model.save_pretrained(folder)
        write_tokenizer(tokenizer, describe_tokenizer(tokenizer, 48, family), folder)
        found[name] = folder
    return found
