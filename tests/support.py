"""What the tests share: a small real task and settings that train on it in seconds."""

from __future__ import annotations

import csv
import itertools
import random
from pathlib import Path

import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from export.data import DataSettings
from export.planning import ExportSettings
from export.settings import FineTuneSettings, Hyperparameters, ModelSize, RunOptions

ROOT = Path(__file__).resolve().parent.parent
TINY = ModelSize(vocab_size=300, dim=64, layers=2, heads=4, hidden_dim=128, dropout=0.0)
TINY_SETTINGS = FineTuneSettings(
    small=TINY,
    max_length=64,
    hyperparameters=Hyperparameters(
        epochs=2, batch_size=32, learning_rate=3e-3, weight_decay=0.01, warmup_share=0.1
    ),
    run=RunOptions(baselines=("bag_of_words",)),
)


def weather_rows() -> list[tuple[str, str]]:
    """A three-class task that a tiny transformer learns in seconds."""
    subjects = ("the sky", "this morning", "our street", "the whole coast", "my garden", "the lake")
    subjects += ("the hill behind the house", "every roof in town")
    words = {
        "sunny": ("bright", "cloudless", "golden", "warm and clear", "sunlit", "without a shadow"),
        "rainy": ("wet", "drenched", "dripping", "soaked through", "under a shower", "rainy"),
        "snowy": ("white", "frozen over", "covered in snow", "icy", "under a metre of it", "snowy"),
    }
    ends = ("today", "again", "since noon", "as far as I can see", "and calm", "they say")
    ends += ("for a change", "on the radio", "at last", "or so it seems")
    rows = [
        (f"{subject} is {word} {end}", label)
        for label, choices in words.items()
        for subject, word, end in itertools.product(subjects, choices, ends)
    ]
    random.Random(5).shuffle(rows)
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Rows under the header text,label."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return path


def export_settings(checkpoint: Path, data: Path, out: Path, **values: object) -> ExportSettings:
    """Export a checkpoint as it is."""
    model = FineTuneSettings(model=str(checkpoint), small=TINY, max_length=64)
    return ExportSettings(
        out=out,
        data=DataSettings(source=str(data)),
        model=model,
        checkpoints=out.parent / "checkpoints",
        **({"targets": ("onnx",), "fine_tune": "never"} | values),  # type: ignore[arg-type]
    )


def seeded_classifier(seed: int, **sizes: int) -> DistilBertForSequenceClassification:
    """A small DistilBERT with random weights, which a test scales to what it wants to see."""
    torch.manual_seed(seed)
    usual = {"vocab_size": 200, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
    usual |= {"max_position_embeddings": 64, "num_labels": 3}
    return DistilBertForSequenceClassification(DistilBertConfig(**(usual | sizes)))


def contents(path: Path) -> dict[str, bytes]:
    """Path inside a folder → its bytes; a file is the path ``.``."""
    files = path.rglob("*") if path.is_dir() else [path]
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in files if f.is_file()}
