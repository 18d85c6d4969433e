"""Tuning for a recipe, from a checkpoint to an artifact that changes next to nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.data.task import TextDataset
from export.pipeline import export_bundle
from export.recipes import Recipe, WeightsRule, recipes
from export.reference import reference_from_model, reference_logits
from export.rounding.grid import grid_of
from export.settings import FineTuneSettings, Hyperparameters, RunOptions
from export.training.processes import world
from export.training.quantized import activations
from export.training.quantized import tune as job
from export.training.quantized.module import FakeQuantized
from export.training.quantized.on_grid import lies_on_grid
from export.training.quantized.plan import plan_of
from export.training.quantized.provenance import notes_on, told_of_tuning
from export.training.quantized.settings import ENTRY, TuneSettings
from export.training.quantized.tune import Tuned, tune
from export.training.record import read_record
from runtime.errors import UserError
from runtime.sessions import open_session
from runtime.sessions.base import SessionSettings

from support import export_settings

# So coarse that plain rounding shows on a task as easy as this one.
INT8 = recipes("onnx")["int8"]
COARSE = replace(
    INT8,
    name="coarse",
    linear=WeightsRule("int4", "channel", "minmax"),
    embedding=WeightsRule("int4", "row", "minmax"),
)
QUICK = FineTuneSettings(
    max_length=32,
    hyperparameters=Hyperparameters(
        epochs=3, batch_size=16, learning_rate=2e-3, weight_decay=0.0, warmup_share=0.1
    ),
    run=RunOptions(baselines=(), save_every=4),
)


def settings(checkpoint: Path, recipe: Recipe = COARSE, **values: Any) -> TuneSettings:
    usual: dict[str, Any] = {"steps": 30, "limit": 100, "training": QUICK}
    return TuneSettings(str(checkpoint), recipe, **(usual | values))


@pytest.fixture(scope="module")
def tuned(
    checkpoint_folder: Path, weather: TextDataset, tmp_path_factory: pytest.TempPathFactory
) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    return tune(weather, settings(checkpoint_folder), folder / "model", folder / "cache")


def classifier(folder: Path) -> Any:
    return load_classifier(find_checkpoint(str(folder))).eval()


def test_weights_lie_on_the_grid_and_the_rest_has_learned(
    tuned: Tuned, checkpoint_folder: Path
) -> None:
    before, after = classifier(checkpoint_folder), classifier(tuned.run.checkpoint)
    plan = plan_of(after, COARSE)
    assert not lies_on_grid(before, COARSE)
    assert lies_on_grid(after, COARSE)
    moved = 0
    for name, rule in plan.weights.items():
        weight = plan.stored(name, after.state_dict()[name].numpy())
        codes = grid_of(weight, rule).codes
        np.testing.assert_array_equal(grid_of(weight, rule).dense(), weight)
        moved += int(
            (
                codes != grid_of(plan.stored(name, before.state_dict()[name].numpy()), rule).codes
            ).sum()
        )
    # A rounding of the weights that were there would have moved none.
    assert moved > 1000
    for name, parameter in before.named_parameters():
        # What the last block's keys are biased by is the same for every position, and unused.
        if parameter.dim() == 1 and "layer.1.attention.k_lin" not in name:
            assert not torch.equal(parameter, after.get_parameter(name)), name


def test_a_single_element_off_the_grid_is_seen(tuned: Tuned) -> None:
    """The planted fault: one weight of 60 thousand, by its last bit."""
    model = classifier(tuned.run.checkpoint)
    weight = model.get_parameter("distilbert.transformer.layer.1.ffn.lin2.weight")
    with torch.no_grad():
        row, column = divmod(int(weight.abs().flatten().argmin()), weight.shape[1])
        weight[row, column] += torch.finfo(torch.float32).tiny
    assert not lies_on_grid(model, COARSE)


def test_it_answers_as_before_with_the_runtimes_arithmetic(tuned: Tuned) -> None:
    found = tuned.comparison
    assert found.texts == 100
    assert found.before > 0.9
    assert found.tuned.score >= found.before - 0.02
    assert found.artifact_flips <= 0.01
    assert found.tuned.low <= found.before - found.tuned.score <= found.tuned.high


def test_the_record_tells_how(tuned: Tuned, checkpoint_folder: Path) -> None:
    record = read_record(tuned.run.checkpoint)
    entry = record.extra[ENTRY]
    assert (entry["target"], entry["recipe"], entry["steps"]) == ("onnx", "coarse", 30)
    teacher = find_checkpoint(str(checkpoint_folder))
    assert entry["teacher"]["weights_sha256"] == teacher.weights_sha256()
    assert entry["weights"]["pre_classifier.weight"]["precision"] == "int4"
    found = tuned.comparison
    assert entry["comparison"] == found.to_json()
    assert [epoch.number for epoch in record.epochs] == [1, 2, 3]
    assert record.steps[-1].step == 30
    told = told_of_tuning(record)
    assert "Tuned in 30 steps for the rounding of onnx's recipe coarse" in told
    assert f"{found.before:.4f} in float32 before, {found.rounded.score:.4f} rounded" in told
    notes = notes_on(record, [(COARSE, True), (INT8, False), (recipes("onnx")["float32"], False)])
    assert len(notes) == 2
    assert "lies on the grid of onnx's coarse" in notes[0]
    assert "tuned for onnx's coarse and not for onnx's int8" in notes[1]
    # Scored as the checkpoint that is saved, in float.
    assert record.test["accuracy"] > 0.9


def test_an_interrupted_run_goes_on_and_ends_the_same(
    tuned: Tuned,
    checkpoint_folder: Path,
    weather: TextDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = iter(range(10**6))
    forward = FakeQuantized.forward

    def dies(self: FakeQuantized, *args: Any, **named: Any) -> Any:
        if torch.is_grad_enabled() and next(calls) == 17:
            raise KeyboardInterrupt
        return forward(self, *args, **named)

    arguments = (weather, settings(checkpoint_folder), tmp_path / "model", tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(FakeQuantized, "forward", dies)
        with pytest.raises(KeyboardInterrupt):
            tune(*arguments)
    again = tune(*arguments)
    assert again.run.record.resumed_from_steps
    files = [
        folder / "model.safetensors" for folder in (again.run.checkpoint, tuned.run.checkpoint)
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert again.comparison == tuned.comparison


def test_data_of_another_task_are_refused(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path
) -> None:
    other = replace(weather, labels=("good", "bad", "ugly"))
    with pytest.raises(UserError, match="cannot be tuned on this data"):
        tune(other, settings(checkpoint_folder), tmp_path / "m", tmp_path / "c")
    assert not (tmp_path / "m").exists()


def test_several_processes_are_refused(
    checkpoint_folder: Path, weather: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "world", lambda: replace(world(), size=2))
    with pytest.raises(UserError, match="one process"):
        tune(weather, settings(checkpoint_folder), tmp_path / "m", tmp_path / "c")


# Against the real runtimes.


def fake_logits(model: Any, recipe: Recipe, sequences: list[list[int]]) -> Any:
    """One text at a time, as a phone does."""
    module = FakeQuantized(model, plan_of(model, recipe)).eval()
    rows = []
    with torch.inference_mode():
        for ids in sequences:
            row = torch.tensor([ids])
            rows.append(module(row, torch.ones_like(row))["logits"])
    return torch.cat(rows).numpy()


def test_a_text_is_rounded_the_same_in_any_batch(checkpoint_folder: Path) -> None:
    """Padded or alone; also where a batch is as long as there are heads, which are four."""
    module = FakeQuantized(
        classifier(checkpoint_folder), plan_of(classifier(checkpoint_folder), INT8)
    )
    chance = np.random.default_rng(0)
    for length in (4, 9):
        ids = torch.from_numpy(chance.integers(5, 90, (6, length)))
        mask = torch.ones_like(ids)
        for row in range(5):
            mask[row, 1 + row % (length - 1) :] = 0
        together = module(ids, mask)["logits"].detach()
        for row in range(6):
            real = slice(0, int(mask[row].sum()))
            alone = module(ids[row : row + 1, real], mask[row : row + 1, real])["logits"]
            torch.testing.assert_close(alone[0].detach(), together[row], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_the_bundle_that_comes_of_it(
    target: str,
    checkpoint_folder: Path,
    weather: TextDataset,
    weather_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exported with no further words: stored without loss, and what was trained is what runs.

    Logits of the artifact, by the real runtime, lie much nearer to those of training's arithmetic
    than rounding moves them; with a range of activations that is off by one code they do not.
    """
    known = recipes(target)
    recipe = next(known[name] for name in ("int4", "int8") if name in known)
    tuned = tune(weather, settings(checkpoint_folder, recipe), tmp_path / "m", tmp_path / "c")
    others = "float32" if recipe.name == "int8" else "int8"
    wanted = export_settings(
        tuned.run.checkpoint, weather_file, tmp_path / "bundle",
        targets=(target,), recipes=(recipe.name, others), reference_limit=60,
    )  # fmt: skip
    exported = export_bundle(replace(wanted, model=replace(wanted.model, max_length=32)))
    said = " ".join(capsys.readouterr().err.split())
    assert f"lies on the grid of {target}'s {recipe.name}" in said
    if others == "int8":
        assert f"tuned for {target}'s int4 and not for {target}'s int8" in said
    folder = exported.bundle or exported.rejected
    assert folder is not None
    spec = next(a for a in exported.manifest.artifacts if a.recipe == recipe.name)
    session: Any = open_session(folder / spec.path, spec, SessionSettings())

    model = classifier(tuned.run.checkpoint)
    tokenizer = load_tokenizer(find_checkpoint(str(tuned.run.checkpoint)))
    tokenizer.enable_truncation(32)
    sequences = [tokenizer.encode(row.text).ids for row in weather.splits["test"][:60]]
    inputs = [(np.array([ids], np.int32), np.ones((1, len(ids)), np.int32)) for ids in sequences]
    real = np.concatenate([session.run(*pair) for pair in inputs])
    exact = np.concatenate([session.run_exact(*pair) for pair in inputs])
    floats = reference_logits(reference_from_model(model), sequences)
    # Only its activations are rounded: its weights are the checkpoint's own.
    np.testing.assert_allclose(exact, floats, atol=1e-4)
    assert (real.argmax(axis=1) != floats.argmax(axis=1)).mean() <= 0.02
    moved = typical(real, floats)
    assert moved > 1e-4
    assert typical(fake_logits(model, recipe, sequences), real) < moved / 100
    monkeypatch.setattr(activations, "_STEPS", 254)
    assert typical(fake_logits(model, recipe, sequences), real) > moved / 2


def typical(one: Any, other: Any) -> float:
    """The median over texts of the largest difference of a logit.

    Not the largest of all: where the last bit of a sum tips a code over to the next, which two in
    a hundred texts meet, a text's logits move by as much as rounding moves them.
    """
    return float(np.median(np.abs(one - other).max(axis=1)))
