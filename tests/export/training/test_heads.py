from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.data.task import Example, TextDataset
from export.families import families
from export.settings import HEAD_ONLY, FineTuneSettings, Hyperparameters, ModelSize
from export.training.finetune import fine_tune
from export.training.heads import CACHE, HeadOnly, prepare
from export.training.model import new_model

from support import TINY_SETTINGS

QUICK = Hyperparameters(
    epochs=6, batch_size=16, learning_rate=3e-3, weight_decay=0.01, warmup_share=0.1
)


def _settings(model: Path | str, **values: object) -> FineTuneSettings:
    settings = FineTuneSettings(
        model=str(model), max_length=64, tuning="head", hyperparameters=QUICK
    )
    return replace(settings, **values)  # type: ignore[arg-type]


def _turned(dataset: TextDataset) -> TextDataset:
    """The same texts, the labels in another order under other names: a new head is needed."""
    splits = {
        split: tuple(Example(e.text, ((e.labels[0] + 1) % 3,)) for e in rows)
        for split, rows in dataset.splits.items()
    }
    return replace(dataset, labels=("a", "b", "c"), splits=splits, name="turned")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path, weather: TextDataset
) -> Path:
    """A new head on a trained encoder."""
    folder = tmp_path_factory.mktemp("heads") / "turned"
    result = fine_tune(_turned(weather), _settings(checkpoint_folder), folder)
    assert result.checkpoint == folder
    return folder


def test_the_encoder_keeps_every_bit_and_the_head_learns(
    tuned: Path, checkpoint_folder: Path
) -> None:
    before, after = _weights(checkpoint_folder), _weights(tuned)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "pre_classifier.weight",
        "pre_classifier.bias",
        "classifier.weight",
        "classifier.bias",
    }
    record = json.loads((tuned / "training.json").read_bytes())
    assert record["test"]["accuracy"] > 0.9
    assert record["settings"]["tuning"] == "head"


def test_the_checkpoints_logits_are_its_heads_on_the_cached_vectors(
    tuned: Path, weather: TextDataset
) -> None:
    (cache,) = (tuned.parent / CACHE).iterdir()
    with np.load(cache, allow_pickle=False) as arrays:
        assert arrays["done"].all()
        vectors = torch.from_numpy(arrays["vectors"][:20])
    checkpoint = find_checkpoint(str(tuned))
    model = load_classifier(checkpoint).eval()
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.no_padding()
    with torch.inference_mode():
        found = HeadOnly(model).eval()(vectors)["logits"]
        for row, example in enumerate(weather.splits["train"][:20]):
            ids = torch.tensor([tokenizer.encode(example.text).ids])
            logits = model(ids).logits[0]
            torch.testing.assert_close(found[row], logits, rtol=0, atol=1e-5)


def test_another_run_needs_no_encoder(
    tuned: Path,
    checkpoint_folder: Path,
    weather: TextDataset,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from export.families.base import Family

    def refuse(*_: object) -> torch.Tensor:
        raise AssertionError("the encoder ran")

    monkeypatch.setattr(Family, "hidden", refuse)
    # Neither the labels nor the seed of the head's first weights change what the encoder gives.
    settings = _settings(checkpoint_folder, hyperparameters=HEAD_ONLY, seed=4)
    objective = prepare(weather, settings, tuned.parent / "again")
    assert len(objective.datasets["train"]) == len(weather.splits["train"])  # type: ignore[arg-type]
    assert "were there already" in " ".join(capsys.readouterr().err.split())


def test_an_interrupted_first_run_leaves_what_it_has(
    tmp_path: Path, checkpoint_folder: Path, weather: TextDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.families.base import Family

    whole = Family.head_input
    calls: list[int] = []

    def breaks_off(self: Family, model: object, ids: torch.Tensor, mask: torch.Tensor) -> object:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(len(ids))
        return whole(self, model, ids, mask)

    monkeypatch.setattr(Family, "head_input", breaks_off)
    settings = _settings(checkpoint_folder)
    with pytest.raises(KeyboardInterrupt):
        prepare(weather, settings, tmp_path / "a")
    first = sum(calls)
    calls[:] = [0] * 6  # past the fifth, so that it runs to the end
    prepare(weather, settings, tmp_path / "a")
    assert first > 0
    assert first + sum(calls) == sum(len(rows) for rows in weather.splits.values())


def test_a_damaged_cache_costs_time_and_nothing_else(
    tmp_path: Path, checkpoint_folder: Path, weather: TextDataset
) -> None:
    settings = _settings(checkpoint_folder)
    first = prepare(weather, settings, tmp_path / "a").datasets["test"]
    (cache,) = (tmp_path / CACHE).iterdir()
    cache.write_bytes(cache.read_bytes()[:-900])
    again = prepare(weather, settings, tmp_path / "b").datasets["test"]
    assert [cache] == list((tmp_path / CACHE).iterdir())
    for row in range(len(weather.splits["test"])):
        assert torch.equal(first[row]["features"], again[row]["features"])
        assert first[row]["labels"] == again[row]["labels"]


def test_several_labels_and_class_weights_go_with_it(
    tmp_path: Path, checkpoint_folder: Path, weather: TextDataset
) -> None:
    def both(example: Example) -> Example:
        return Example(example.text, (0, 2) if example.labels[0] == 1 else example.labels)

    splits = {split: tuple(map(both, rows)) for split, rows in weather.splits.items()}
    dataset = replace(weather, kind="multi_label", splits=splits)
    chosen = replace(QUICK, epochs=3, class_weights="balanced")
    folder = tmp_path / "multi"
    fine_tune(dataset, _settings(checkpoint_folder, hyperparameters=chosen), folder)
    record = json.loads((folder / "training.json").read_bytes())
    assert record["class_weights"] is not None
    assert len(record["thresholds"]) == 3
    assert record["test"]["micro_f1"] > 0.9
    assert find_checkpoint(str(folder)).is_multi_label


def test_a_random_encoder_is_told_of(
    tmp_path: Path, weather: TextDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(TINY_SETTINGS, tuning="head")
    prepare(weather, settings, tmp_path / "x")
    assert "random and stays so" in capsys.readouterr().err


def test_heads_have_settings_of_their_own_unless_told() -> None:
    assert FineTuneSettings(tuning="head").effective == HEAD_ONLY
    assert FineTuneSettings(tuning="head", hyperparameters=QUICK).effective == QUICK


@pytest.mark.parametrize("name", list(families()))
def test_every_familys_head_alone_gives_the_classifiers_logits(name: str) -> None:
    torch.manual_seed(3)
    family = families()[name]
    size = ModelSize(vocab_size=300, dim=32, layers=1, heads=2, hidden_dim=64)
    texts = ["the sky is blue today", "rain again and again", "snow on every roof"] * 10
    model, _ = new_model(family, size, texts, ("a", "b", "c"), max_length=32)
    head = HeadOnly(model)
    model.eval()
    ids = torch.tensor([[5, 6, 7, 8, 9, 3]])
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        wanted = family.logits(model, ids, mask)
        found = head(family.head_input(model, ids, mask))["logits"]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in head.parameters()}
    named = dict(model.named_parameters())
    assert trained == {id(p) for n, p in named.items() if family.head.match(n)}
    assert len(head.state_dict()) < len(model.state_dict()) / 2
