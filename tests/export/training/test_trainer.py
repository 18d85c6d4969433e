"""How a run goes: steps that are cut, precision, early stopping, a loss that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_run import settings_of
from safetensors.numpy import load_file

from export.data.task import Example, TextDataset
from export.settings import FROM_SCRATCH, FineTuneSettings
from export.training import arguments, objective
from export.training.finetune import FineTuned, fine_tune
from export.training.history import History
from export.training.resume import run_folder
from runtime.errors import UserError


@pytest.fixture(scope="module")
def few(weather: TextDataset) -> TextDataset:
    splits = {
        "train": weather.splits["train"][:104],
        "validation": weather.splits["validation"][:30],
    }
    return replace(weather, splits=splits | {"test": weather.splits["test"][:30]})


def losses(result: FineTuned) -> list[float]:
    return [point.loss for point in result.record.steps]


def test_two_passes_equal_one_of_the_doubled_batch(few: TextDataset, tmp_path: Path) -> None:
    whole = fine_tune(few, settings_of(batch_size=16), tmp_path / "whole")
    cut = fine_tune(few, settings_of(batch_size=8, accumulation=2), tmp_path / "cut")
    assert len(losses(cut)) == 14
    np.testing.assert_allclose(losses(cut), losses(whole), atol=1e-5, rtol=0)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, atol=1e-3, rtol=0)


def test_bfloat16_trains_and_the_checkpoint_is_float32(few: TextDataset, tmp_path: Path) -> None:
    plain = settings_of(epochs=6, learning_rate=1e-2)
    exact = fine_tune(few, plain, tmp_path / "float32")
    rough = fine_tune(few, replace(plain, precision="bfloat16"), tmp_path / "bfloat16")
    assert rough.record.precision == "bfloat16"
    assert exact.record.precision == "float32"
    assert losses(rough) != losses(exact), "something was computed in bfloat16"
    assert np.mean(losses(rough)[-5:]) < 0.8 * np.mean(losses(rough)[:5])
    weights = load_file(tmp_path / "bfloat16" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {np.dtype(np.float32)}
    last = {name: np.float32(value) for name, value in weights.items()}
    assert any((value.view(np.uint32) & 0xFFFF).any() for value in last.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has float16")
def test_a_precision_that_the_machine_lacks() -> None:
    with pytest.raises(UserError, match=r"does not train in float16\. it has float32, bfloat16"):
        arguments.resolve_precision("float16")
    assert arguments.resolve_precision("auto") == "float32"


def test_compiling_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler and there is none"):
        arguments.check_compile()


def test_a_loss_that_is_no_number_stops_at_once(
    few: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 6 on, one target weighs infinitely; step 4's checkpoint stays."""
    task = objective.ClassifierLoss.__call__
    calls = 0

    def breaks(self: Any, *args: Any) -> objective.LossResult:
        nonlocal calls
        calls += 1
        found = task(self, *args)
        return objective.LossResult(found.loss * (float("inf") if calls > 5 else 1.0))

    monkeypatch.setattr(objective.ClassifierLoss, "__call__", breaks)
    settings = replace(settings_of(), precision="bfloat16")
    with pytest.raises(UserError) as caught:
        fine_tune(few, settings, tmp_path / "out")
    message = str(caught.value)
    assert "the training loss is inf at step 6 of 26 (epoch 1)" in message
    for idea in ("--learning-rate 0.0003", "--precision float32", "--accumulation 2"):
        assert idea in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()
    left = sorted(path.name for path in run_folder(tmp_path / "out").glob("step-*"))
    assert left == ["step-000004"]
    monkeypatch.undo()
    done = fine_tune(few, settings, tmp_path / "out")
    assert done.record.resumed_from_steps == (4,)
    assert np.isfinite(losses(done)).all()


def test_early_stopping(few: TextDataset, tmp_path: Path) -> None:
    still = settings_of(epochs=9, patience=2, learning_rate=1e-30)
    result = fine_tune(few, still, tmp_path / "still")
    assert result.record.stopped_early
    assert [epoch.number for epoch in result.epochs] == [1, 2, 3]
    assert result.best == 1


@pytest.mark.slow
def test_class_weights_raise_the_recall_of_a_rare_label(tmp_path: Path) -> None:
    """One text in 20 has the label, and its words say so only half of the time."""
    rows = [
        Example(f"{'storm' if n % 10 == 0 else 'calm'} over the {place} number {n}", labels)
        for n in range(400)
        for place in ("sea",)
        for labels in [(1,) if n % 20 == 0 else (0,)]
    ]
    splits = {
        "train": tuple(rows[:240]),
        "validation": tuple(rows[240:320]),
        "test": tuple(rows[320:]),
    }
    dataset = TextDataset("rare", "single_label", ("no", "yes"), splits, (), ())
    recall = {}
    for name in ("none", "balanced"):
        settings = settings_of(epochs=6, learning_rate=1e-2, class_weights=name)
        record = fine_tune(dataset, settings, tmp_path / name).record
        recall[name] = record.evaluation["test"]["per_label"][1]["recall"]
        assert (record.class_weights is None) == (name == "none")
    assert recall["balanced"] == 1.0
    assert recall["none"] < 1.0


def test_a_point_stands_for_the_mean_since_the_last() -> None:
    history = History(max_steps=450)
    points = [history.step(n, n / 45, float(n), {"a": 2.0 * n}, 0.1) for n in range(1, 46)]
    found = [point for point in points if point]
    assert [point.step for point in found] == list(range(3, 46, 3))
    assert found[0].loss == 2.0
    row, better = history.finish_epoch(validation_loss=1.0, metric=0.5)
    assert better
    assert row.training_loss == 23.0
    assert row.terms == {"a": 46.0}
    again = History.from_json(history.to_json())
    assert again.epochs == history.epochs
    assert again.steps == history.steps
    _, better = again.finish_epoch(validation_loss=0.9, metric=0.5)
    assert better, "the lower loss decides between equals"
    _, better = again.finish_epoch(validation_loss=0.9, metric=0.5)
    assert not better


def test_settings_out_of_range() -> None:
    for wrong in ({"accumulation": 0}, {"patience": 0}, {"epochs": 0}, {"learning_rate": 1.0}):
        with pytest.raises(UserError):
            replace(FROM_SCRATCH, **wrong)  # type: ignore[arg-type]


def test_what_does_not_decide_the_result(tmp_path: Path) -> None:
    plain = FineTuneSettings()
    other = replace(plain, run=replace(plain.run, save_every=3, tensorboard=tmp_path, baselines=()))
    assert plain.what_decides() == other.what_decides()
    assert plain.what_decides() != replace(plain, precision="bfloat16").what_decides()
