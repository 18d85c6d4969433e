from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.training.record import RUN_FILE, read_record, write_record
from runtime.errors import UserError

# As version 1 of this program wrote it.
VERSION_1 = {
    "schema_version": 1,
    "model": "small-distilbert",
    "revision": None,
    "data": {"name": "weather.csv", "sha256": "ab"},
    "settings": {"seed": 13, "hyperparameters": {"epochs": 1}},
    "epochs": [
        {"number": 1, "training_loss": 0.5, "validation_loss": 0.4, "metric": 0.9, "seconds": 1.5}
    ],
    "best_epoch": 1,
    "validation": {"accuracy": 0.9, "macro_f1": 0.8},
    "test": {"accuracy": 0.7, "macro_f1": 0.6},
    "bag_of_words": {"validation": 0.5, "test": 0.55},
    "versions": {"python": "3.11"},
}


def test_what_is_written_is_read(checkpoint_folder: Path, tmp_path: Path) -> None:
    record = read_record(checkpoint_folder)
    write_record(record, tmp_path)
    assert (tmp_path / RUN_FILE).read_bytes() == (checkpoint_folder / RUN_FILE).read_bytes()
    assert read_record(tmp_path) == record


def test_it_holds_what_readers_were_promised(checkpoint_folder: Path) -> None:
    record = read_record(checkpoint_folder)
    assert (record.model, record.family, record.tuning) == (
        "small-distilbert",
        "distilbert",
        "whole",
    )
    assert record.data["rows"] == {"train": 1152, "validation": 144, "test": 144}
    assert record.data["labels"] == ["rainy", "snowy", "sunny"]
    assert record.settings["hyperparameters"]["batch_size"] == 32
    assert "run" not in record.settings
    assert record.steps[-1].step == 72
    assert record.steps[-1].epoch == 2.0
    assert record.evaluation["test"]["figures"]["accuracy"] == record.test["accuracy"]
    assert record.transformer is not None
    assert record.transformer.bytes == 4 * record.transformer.parameters
    assert 0 < record.transformer.prediction_ms_per_text < 1000
    assert record.baseline_test.keys() == {"bag_of_words"}
    assert 0 < record.padding["padded_share"] < 0.5
    assert record.device == "cpu"


def test_version_1_is_still_read(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(json.dumps(VERSION_1))
    record = read_record(tmp_path)
    assert record.schema_version == 1
    assert record.baseline_test == {"bag_of_words": 0.55}
    assert record.epochs[0].seconds == 1.5
    assert record.thresholds is None
    assert record.transformer is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ('{"schema_version": 2}', "KeyError"),
        ('{"schema_version": 3}', "this program knows 1 and 2"),
        ("[]", "cannot be read"),
    ],
)
def test_a_broken_record(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(UserError, match=words):
        read_record(tmp_path)


def test_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run of ours"):
        read_record(tmp_path)


def test_further_entries_survive(checkpoint_folder: Path, tmp_path: Path) -> None:
    values = json.loads((checkpoint_folder / RUN_FILE).read_bytes())
    (tmp_path / RUN_FILE).write_text(json.dumps(values | {"distillation": {"temperature": 2.0}}))
    record = read_record(tmp_path)
    assert record.extra == {"distillation": {"temperature": 2.0}}
    assert record.to_json()["distillation"] == {"temperature": 2.0}
