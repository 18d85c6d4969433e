from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from export.checkpoint import find_checkpoint, load_classifier
from export.data.task import Example, TextDataset
from export.reference import reference_from_model, reference_logits
from export.settings import Hyperparameters
from export.tokenizers import describe_tokenizer
from export.training.baselines import run_baselines
from export.training.finetune import fine_tune
from export.training.metrics import metrics_of_logits
from runtime.errors import UserError
from runtime.tokenizer import TextTokenizer

from support import TINY_SETTINGS

ONE_EPOCH = replace(TINY_SETTINGS, hyperparameters=TINY_SETTINGS.effective.override(epochs=1))


def test_the_checkpoint_is_complete_and_holds_no_pickle(checkpoint_folder: Path) -> None:
    names = {path.name for path in checkpoint_folder.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt", "training.json",
    }  # fmt: skip
    record = json.loads((checkpoint_folder / "training.json").read_bytes())
    assert [epoch["number"] for epoch in record["epochs"]] == [1, 2]
    losses = [epoch["training_loss"] for epoch in record["epochs"]]
    assert losses == sorted(losses, reverse=True)
    assert record["settings"]["seed"] == 13


def test_the_best_epoch_is_what_was_written(checkpoint_folder: Path, weather: TextDataset) -> None:
    """Score the written checkpoint ourselves and find the recorded metric."""
    record = json.loads((checkpoint_folder / "training.json").read_bytes())
    checkpoint = find_checkpoint(str(checkpoint_folder))
    reference = reference_from_model(load_classifier(checkpoint))
    from export.checkpoint import load_tokenizer

    spec = describe_tokenizer(load_tokenizer(checkpoint), 64, checkpoint.family)
    tokenizer = TextTokenizer(checkpoint_folder / "tokenizer.json", spec)
    rows = weather.splits["validation"]
    logits = reference_logits(reference, [tokenizer.ids(e.text) for e in rows])
    accuracy = np.mean([row.argmax() == e.labels[0] for row, e in zip(logits, rows, strict=True)])
    best = record["epochs"][record["best_epoch"] - 1]
    assert accuracy == pytest.approx(best["metric"])
    assert best["metric"] == max(epoch["metric"] for epoch in record["epochs"])
    assert record["validation"]["accuracy"] == pytest.approx(accuracy)


def test_seeds_are_fixed(weather: TextDataset, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fine_tune(weather, replace(ONE_EPOCH, seed=seed), tmp_path / name)
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    first, again, other = weights
    assert all((first[k] == again[k]).all() for k in first)
    assert any((first[k] != other[k]).any() for k in first)


def test_multi_label_learns_both_labels(tmp_path: Path) -> None:
    places, times = ("sea", "hill", "town", "wood"), ("dawn", "noon", "dusk", "night")
    marks = ({"sea", "town"}, {"dawn", "dusk"})
    rows = [
        Example(f"the {p} at {t} number {n}", tuple(i for i in (0, 1) if (p, t)[i] in marks[i]))
        for p in places
        for t in times
        for n in range(12)
    ]
    splits = {"train": tuple(rows[::2]), "validation": tuple(rows[1::4]), "test": tuple(rows[3::4])}
    dataset = TextDataset("places", "multi_label", ("wet", "dim"), splits, (), ())
    settings = replace(TINY_SETTINGS, hyperparameters=TINY_SETTINGS.effective.override(epochs=8))
    result = fine_tune(dataset, settings, tmp_path / "m")
    assert result.metric_name == "micro_f1"
    assert result.test["micro_f1"] > 0.9
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    assert config["problem_type"] == "multi_label_classification"
    (words,) = run_baselines(dataset, ("test",), seed=1, which=("bag_of_words",))
    assert words.metrics["test"]["micro_f1"] > 0.9


def test_a_diverging_run_stops_and_writes_nothing(weather: TextDataset, tmp_path: Path) -> None:
    wild = Hyperparameters(
        epochs=2, batch_size=16, learning_rate=0.99, weight_decay=0.0, warmup_share=0.0
    )
    settings = replace(TINY_SETTINGS, hyperparameters=wild)
    broken = tmp_path / "broken"
    fine_tune(weather, ONE_EPOCH, broken)
    weights = load_file(broken / "model.safetensors")
    from safetensors.numpy import save_file

    name = "distilbert.transformer.layer.0.ffn.lin1.weight"
    save_file(weights | {name: weights[name] * np.nan}, broken / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match="the training loss is nan"):
        fine_tune(weather, replace(settings, model=str(broken)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_max_length_beyond_the_model(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    settings = replace(ONE_EPOCH, model=str(checkpoint_folder), max_length=65)
    with pytest.raises(UserError, match="it has positions for 64 ids"):
        fine_tune(weather, settings, tmp_path / "out")


def test_metrics_against_figures_by_hand() -> None:
    logits = np.array([[1, 0], [0, 1], [2, 1]], dtype=np.float32)
    single = metrics_of_logits(logits, np.array([0.0, 1.0, 1.0]), multi_label=False)  # type: ignore[arg-type]
    assert single["accuracy"] == pytest.approx(2 / 3)
    truth = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    signs = np.array([[1, -1], [-1, 1], [1, -1]], dtype=np.float32)
    multi = metrics_of_logits(signs, truth, multi_label=True)
    assert multi["micro_f1"] == pytest.approx(6 / 7)
    assert multi["exact_match"] == pytest.approx(2 / 3)
