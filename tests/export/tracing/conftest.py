"""A small random classifier of every family, as a checkpoint's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from export.checkpoint import Checkpoint, find_checkpoint
from export.families import families
from export.settings import ModelSize
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.tracing import TextTrace, trace_text
from export.training.model import new_model

from support import weather_rows

SIZE = ModelSize(vocab_size=300, dim=32, layers=3, heads=4, hidden_dim=64, dropout=0.1)
LABELS = ("sunny", "rainy", "<b>snowy</b>")
LENGTH = 24

Family = Callable[[str], Checkpoint]


@pytest.fixture(scope="session")
def small_of(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Family's name → checkpoint, made once."""
    root = tmp_path_factory.mktemp("small")

    def make(name: str) -> Checkpoint:
        folder = root / name
        if not folder.exists():
            torch.manual_seed(3)
            family = families()[name]
            texts = [text for text, _ in weather_rows()]
            model, tokenizer = new_model(family, SIZE, texts, LABELS, max_length=LENGTH)
            model.save_pretrained(folder)
            write_tokenizer(tokenizer, describe_tokenizer(tokenizer, LENGTH, family), folder)
        return find_checkpoint(str(folder))

    return make


@pytest.fixture(scope="session")
def rainy(checkpoint_folder: Path) -> TextTrace:
    """A trace of the model that has learned the weather."""
    return trace_text(find_checkpoint(str(checkpoint_folder)), "The lake is WET again, they say")
