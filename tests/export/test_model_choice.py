from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import DistilBertForMaskedLM, DistilBertForSequenceClassification

from export.checkpoint import find_checkpoint
from export.data.task import Example, TextDataset
from export.model_choice import checkpoint_folder as folder_for
from export.model_choice import choose, labels_of, relabel
from runtime.errors import UserError

from support import TINY_SETTINGS


def _settings(folder: Path):  # type: ignore[no-untyped-def]
    return replace(TINY_SETTINGS, model=str(folder))


@pytest.fixture
def copied(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "model"))


def test_a_trained_classifier_is_exported_as_it_is(copied: Path, weather: TextDataset) -> None:
    choice = choose(weather, _settings(copied), "auto")
    assert choice.checkpoint is not None
    assert "already solves the task" in choice.reason
    assert choose(weather, _settings(copied), "always").checkpoint is None


def test_nameless_labels_are_the_datas(copied: Path, weather: TextDataset) -> None:
    config = json.loads((copied / "config.json").read_bytes())
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    config["label2id"] = {f"LABEL_{i}": i for i in range(3)}
    (copied / "config.json").write_text(json.dumps(config))
    choice = choose(weather, _settings(copied), "auto")
    assert choice.checkpoint is not None
    assert labels_of(choice.checkpoint, weather) == weather.labels


def test_a_random_head_is_fine_tuned_first(copied: Path, weather: TextDataset) -> None:
    checkpoint = find_checkpoint(str(copied))
    model = DistilBertForSequenceClassification.from_pretrained(copied)
    model.classifier.weight.data.zero_()
    model.save_pretrained(copied)
    choice = choose(weather, _settings(copied), "auto")
    assert choice.checkpoint is None
    assert "has not learned the task" in choice.reason
    assert choose(weather, _settings(copied), "never").checkpoint is not None
    assert checkpoint.has_head


def test_an_encoder_without_head(copied: Path, weather: TextDataset) -> None:
    model = DistilBertForSequenceClassification.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    DistilBertForMaskedLM(model.config).save_pretrained(copied)
    choice = choose(weather, _settings(copied), "auto")
    assert choice.checkpoint is None
    assert "no classification head" in choice.reason
    with pytest.raises(UserError, match="no classification head"):
        choose(weather, _settings(copied), "never")


def test_labels_that_the_head_does_not_know(copied: Path, weather: TextDataset) -> None:
    stranger = replace(weather, labels=("rainy", "snowy", "windy"))
    assert choose(stranger, _settings(copied), "auto").checkpoint is None
    with pytest.raises(UserError, match="does not know the label 'windy'"):
        choose(stranger, _settings(copied), "never")


def test_a_head_of_the_other_kind(copied: Path, weather: TextDataset) -> None:
    other = replace(weather, kind="multi_label")
    with pytest.raises(UserError, match="its head is single-label and the data multi-label"):
        choose(other, _settings(copied), "never")


def test_the_small_default_must_be_trained(weather: TextDataset) -> None:
    with pytest.raises(UserError, match="nothing to export without fine-tuning"):
        choose(weather, TINY_SETTINGS, "never")


def test_relabel_moves_indices_with_the_names() -> None:
    rows = (Example("x", (0,)), Example("y", (0, 1)))
    dataset = TextDataset("d", "multi_label", ("a", "b"), {"train": rows}, (), ())
    moved = relabel(dataset, ("c", "b", "a"))
    assert [e.labels for e in moved.splits["train"]] == [(2,), (1, 2)]


def test_the_folder_depends_on_data_and_settings(weather: TextDataset, tmp_path: Path) -> None:
    first = folder_for(tmp_path, weather, TINY_SETTINGS)
    assert first == folder_for(tmp_path, weather, TINY_SETTINGS)
    assert first != folder_for(tmp_path, weather, replace(TINY_SETTINGS, seed=14))
    fewer = replace(weather, splits=weather.splits | {"train": weather.splits["train"][1:]})
    assert first != folder_for(tmp_path, fewer, TINY_SETTINGS)
