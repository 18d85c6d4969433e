"""Rounded weights reach the artifact exactly, and no rounding can hide from the gate."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from outlier_support import plant_residual

from export.float_cache import conversion_request
from export.pipeline import export_bundle
from export.prepare import Prepared, by_magnitude, prepared_job
from export.recipes import Recipe, WeightsRule, recipes
from export.reference import reference_from_model
from export.rounding.gradients import gradient_moments
from export.rounding.grid import Grid, grid_of
from export.targets import targets
from export.targets.base import ArtifactMetadata, Source
from export.targets.parameters import original_parameters
from runtime.manifest import TaskSpec

from support import export_settings, seeded_classifier

RANDOM = np.random.default_rng(5)
TEXTS = tuple(tuple(int(i) for i in RANDOM.integers(5, 190, n)) for n in (3, 9, 17, 30, 8, 4, 21))
ONE = TaskSpec("single_label", "softmax", ("a", "b", "c"))
METADATA = ArtifactMetadata("x", "x", "x", "x", "1", "0" * 64)


def source_of(model: Any) -> Source:
    return Source(reference_from_model(model), (16, 64), ONE, 0, METADATA, calibration=TEXTS)


def searched(name: str = "int8", **values: Any) -> Recipe:
    recipe = recipes("onnx")[name]
    return replace(
        recipe,
        linear=replace(recipe.linear, algorithm="gptq"),
        embedding=replace(recipe.embedding, algorithm="mse"),
        **values,
    )


def test_targets_are_told_to_store_what_they_get(tmp_path: Path) -> None:
    source, recipe = source_of(seeded_classifier(3)), searched()
    job = prepared_job(source, recipe, {}, tmp_path, Prepared())
    assert job.recipe == by_magnitude(recipe) == by_magnitude(recipes("onnx")["int8"])
    assert conversion_request(job, {}) != conversion_request(replace(job, source=source), {}), (
        "float conversions of other weights are others"
    )
    assert job.source.reference is not source.reference
    weights = job.source.reference.module.model.state_dict()
    key = "distilbert.transformer.layer.0.ffn.lin1.weight"
    assert np.array_equal(grid_of(weights[key].numpy(), recipe.linear).dense(), weights[key])


def test_a_recipe_without_a_search_gets_the_model_itself(tmp_path: Path) -> None:
    source, recipe = source_of(seeded_classifier(3)), by_magnitude(recipes("onnx")["int8"])
    job = prepared_job(source, recipe, {}, tmp_path, Prepared())
    assert (job.source, job.recipe, job.scratch) == (source, recipe, tmp_path)


def test_what_was_rounded_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, source = Prepared(), source_of(seeded_classifier(3))
    first = prepared_job(source, searched(), {}, tmp_path, prepared).source.reference
    same = prepared_job(source, searched(name="int8", file="other.onnx"), {}, tmp_path, prepared)
    assert same.source.reference is first
    other = replace(
        searched(), layers={"pre_classifier.weight": WeightsRule("int8", "channel", "mse")}
    )
    assert prepared_job(source, other, {}, tmp_path, prepared).source.reference is not first
    assert len(prepared.rounded) == 1, "a model's size each"


def test_gradients_are_taken_once_for_all_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def look(reference: Any, texts: Any, tables: Any) -> Any:
        asked.append(sorted(tables))
        return gradient_moments(reference, texts, tables)

    monkeypatch.setattr("export.rounding.model.gradient_moments", look)
    prepared, source = Prepared(), source_of(seeded_classifier(3))
    for name in ("int8", "int4"):
        again = prepared_job(source, recipes("onnx")[name], {}, tmp_path, prepared).source.reference
    assert len(asked) == 1
    alone = prepared_job(source, recipes("onnx")["int4"], {}, tmp_path, Prepared()).source.reference
    assert len(asked) == 2
    before, after = (one.module.model.state_dict() for one in (alone, again))
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("planted", [False, True])
def test_the_artifact_holds_the_rounded_weights_bit_for_bit(
    tmp_path: Path, *, planted: bool
) -> None:
    """With outliers the integers are those of the weight times its divisor."""
    source = source_of(seeded_classifier(3))
    if planted:
        source = replace(source, reference=plant_residual(source.reference))
    module, recipe = targets()["onnx"], searched(outliers="divide")
    job = prepared_job(source, recipe, {}, tmp_path, Prepared())
    assert bool(job.divisors) == planted
    path = tmp_path / recipe.file
    module.make(job, path)
    effective = module.effective(path, job)
    assert effective is not None
    expected = original_parameters(job.source.reference)
    for name, value in effective.tensors.items():
        if name.endswith("position_embeddings.weight"):
            assert np.array_equal(value[:64], expected[name][:64])
        else:
            assert np.array_equal(value, expected[name]), name


def _zeros(weight: Any, start: Grid, moments: torch.Tensor) -> Grid:
    del weight, moments
    return Grid(np.where(np.abs(start.codes) == 127, start.codes, 0).astype(np.int8), start.scales)


@pytest.mark.parametrize("fault", [None, _zeros])
def test_a_garbage_rounding_fails_the_gate(
    checkpoint_folder: Path,
    weather_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
) -> None:
    """The artifact is true to the rounded weights; the gate asks for the user's own."""
    if fault is not None:
        monkeypatch.setattr("export.rounding.model.compensated", fault)
    monkeypatch.setattr("export.recipes.choice.recipes", lambda _target: {"int8": searched()})
    settings = export_settings(checkpoint_folder, weather_file, tmp_path / "out")
    exported = export_bundle(settings)
    assert (exported.bundle is None) == (fault is not None)
    assert exported.report.verdict == ("pass" if fault is None else "fail")
    if fault is not None:
        shutil.rmtree(tmp_path / "out.rejected")


def test_keys_that_are_stored_transposed_have_no_divisor(tmp_path: Path) -> None:
    """The last block multiplies them with queries, whose channels are others."""
    source = source_of(seeded_classifier(3))
    source = replace(source, reference=plant_residual(source.reference))
    divisors = prepared_job(source, recipes("onnx")["int8"], {}, tmp_path, Prepared()).divisors
    layer = "distilbert.transformer.layer"
    assert f"{layer}.0.attention.k_lin" in divisors
    assert f"{layer}.1.attention.q_lin" in divisors
    assert f"{layer}.1.attention.k_lin" not in divisors
