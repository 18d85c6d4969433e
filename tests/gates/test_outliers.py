"""Checkpoints with outlier channels: int8 without the migration is turned down, with it survives.

The whole way is run: export, effective weights, every check of the gate.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fault_support import failed
from outlier_support import plant_exact, plant_inner, plant_residual

import export.recipes.choice
from export.checkpoint import load_classifier, read_checkpoint
from export.pipeline import Exported, export_bundle
from export.recipes import Recipe, recipes
from export.reference import Reference, reference_from_model
from runtime.bundle import open_bundle
from runtime.parity.judge import ArtifactReport

from support import export_settings

INT8 = ("model_int8.onnx", "model_int8.tflite")


def planted_checkpoint(
    sound: Path, plant: Callable[[Reference], Reference], destination: Path
) -> Path:
    """A copy of a checkpoint with other weights."""
    checkpoint = read_checkpoint(sound, name="weather", revision=None)
    reference = plant(reference_from_model(load_classifier(checkpoint)))
    shutil.copytree(sound, destination)
    reference.module.model.save_pretrained(destination)
    return destination


def exported(checkpoint: Path, data: Path, out: Path, outliers: str | None) -> Exported:
    """An int8 bundle; `outliers` in the place of the recipes' own."""

    def own(target: str) -> dict[str, Recipe]:
        found = recipes(target)
        if outliers is None:
            return found
        return {name: replace(recipe, outliers=outliers) for name, recipe in found.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.recipes.choice, "recipes", own)
        return export_bundle(
            export_settings(
                checkpoint,
                data,
                out,
                targets=("onnx", "tflite"),
                recipes=("int8",),
                lengths=(24,),  # instead of the usual 32
            )
        )


def reports(result: Exported) -> dict[str, ArtifactReport]:
    return {report.path: report for report in result.report.artifacts}


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("exact") / "planted"
    return planted_checkpoint(checkpoint_folder, partial(plant_exact, size=256.0), folder)


def test_without_migration_the_gate_turns_int8_down(
    exact: Path, weather_file: Path, tmp_path: Path
) -> None:
    found = reports(exported(exact, weather_file, tmp_path / "out", "keep"))
    for path in INT8:
        assert failed(found[path]) & {"max_rel", "sqnr_db", "cosine"}, found[path].figures


def test_with_migration_int8_survives(exact: Path, weather_file: Path, tmp_path: Path) -> None:
    result = exported(exact, weather_file, tmp_path / "out", None)
    assert result.report.verdict == "pass"
    assert {r.path for r in result.report.artifacts} == {*INT8}
    assert all(not failed(report) for report in result.report.artifacts)
    assert result.bundle is not None
    made = {a.path: a.lengths for a in open_bundle(result.bundle).manifest.artifacts}
    assert made == {"model_int8.onnx": None, "model_int8.tflite": (24, 64)}


@pytest.mark.slow
@pytest.mark.parametrize("plant", [plant_residual, plant_inner])
def test_outliers_that_cannot_be_folded(
    plant: Callable[[Reference], Reference],
    checkpoint_folder: Path,
    weather_file: Path,
    tmp_path: Path,
) -> None:
    """ONNX has one scale for a whole text: its inputs are divided."""
    checkpoint = planted_checkpoint(checkpoint_folder, plant, tmp_path / "planted")
    plain = reports(exported(checkpoint, weather_file, tmp_path / "plain", "keep"))
    moved = reports(exported(checkpoint, weather_file, tmp_path / "moved", None))
    onnx = INT8[0]
    assert moved[onnx].figures["sqnr_db"] > plain[onnx].figures["sqnr_db"] + 6
    assert not failed(moved[onnx])
