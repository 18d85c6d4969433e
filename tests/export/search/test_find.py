"""A search from a checkpoint to a bundle: real files, the real gate, a model with a planted fault.

One matrix of the model has no good scale, so that no whole int8 recipe passes (see `spoil`).
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed_run import PROCESSES
from safetensors.torch import load_file, save_file

from export import pipeline
from export.pipeline import Exported, export_bundle
from export.planning import ExportSettings
from export.recipes.document import read_recipe
from export.search import workshop
from export.search.find import recipe_file
from export.search.settings import SearchSettings
from runtime.bundle import open_bundle
from runtime.errors import UserError

from support import export_settings

SPOILED = "distilbert.transformer.layer.1.ffn.lin2.weight"
# Between a file that is all int8 (about 110 kB) and one that is all float32 (about 380 kB).
BUDGET = 240_000


class Found(Exception):  # noqa: N818
    """The search is over: what comes then is any export's."""


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path) -> Path:
    """A checkpoint with a dead unit, whose column dwarfs every row of the next matrix."""
    folder = tmp_path_factory.mktemp("checkpoints") / "spoiled"
    shutil.copytree(checkpoint_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    layer = SPOILED.removesuffix("lin2.weight")
    tensors[f"{layer}lin1.weight"][3] = 0
    tensors[f"{layer}lin1.bias"][3] = -100
    tensors[SPOILED][:, 3] = 50
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, spoiled: Path, weather_file: Path
) -> ExportSettings:
    place = tmp_path_factory.mktemp("search")
    search = SearchSettings(budget=BUDGET, folder=place / "state")
    return export_settings(spoiled, weather_file, place / "bundle", search=search)


@pytest.fixture(scope="module")
def exported(settings: ExportSettings) -> Exported:
    return export_bundle(settings)


def _search(settings: ExportSettings, monkeypatch: pytest.MonkeyPatch, **bounds: Any) -> Any:
    """The recipe that a search with other bounds finds, without the export that follows."""

    def found(wanted: Any, *_: object) -> None:
        raise Found(wanted)

    monkeypatch.setattr(pipeline, "make_artifacts", found)
    assert settings.search is not None
    search = replace(settings.search, **bounds)
    with pytest.raises(Found) as caught:
        export_bundle(replace(settings, search=search))
    ((recipe, _),) = caught.value.args[0].jobs
    return recipe


def test_the_artifact_is_within_the_budget_and_passes(exported: Exported) -> None:
    assert exported.bundle is not None
    (artifact,) = open_bundle(exported.bundle).manifest.artifacts
    assert artifact.bytes <= BUDGET
    assert artifact.gate == "pass"
    assert artifact.recipe == "search"


def test_the_sensitive_matrix_keeps_its_precision(exported: Exported) -> None:
    assert exported.bundle is not None
    (artifact,) = open_bundle(exported.bundle).manifest.artifacts
    stored = {weight.name.partition("/")[0]: weight.precision for weight in artifact.weights.stored}
    assert stored[SPOILED] == "float32"
    assert sum(precision != "float32" for precision in stored.values()) >= 5


@pytest.mark.slow
def test_the_recipe_is_in_the_bundle_and_makes_the_same_file(
    exported: Exported, settings: ExportSettings, tmp_path: Path
) -> None:
    assert exported.bundle is not None
    file = exported.bundle / recipe_file("onnx")
    recipe = read_recipe(file, "onnx")
    assert recipe.rule_for(SPOILED, "linear").precision == "float32"
    assert file.read_text().startswith("# Found by a search for at most 240.0 kB: ")
    assert file.name in {entry.path for entry in exported.manifest.files}
    again = replace(settings, search=None, recipes=(str(file),), out=tmp_path / "bundle")
    bundle = export_bundle(again).bundle
    assert bundle is not None
    assert (bundle / recipe.file).read_bytes() == (exported.bundle / recipe.file).read_bytes()


def test_a_search_that_goes_on_makes_nothing_again(
    exported: Exported,
    settings: ExportSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exported.bundle is not None
    monkeypatch.setattr(workshop, "make_artifact", None)
    recipe = _search(settings, monkeypatch)
    assert recipe == read_recipe(exported.bundle / recipe_file("onnx"), "onnx")
    told = capsys.readouterr()
    assert "known from an earlier run" in told.err
    assert "the most faithful with at most 240.0 kB: " in told.out


def _dies(settings: ExportSettings, at: int) -> None:
    """In a process of its own: SIGKILL when so many artifacts are to be made."""
    real, count = workshop.make_artifact, 0

    def make(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    workshop.make_artifact = make
    export_bundle(settings)


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(
    settings: ExportSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings.search is not None
    fresh = replace(
        settings,
        search=replace(settings.search, folder=tmp_path / "state"),
        out=tmp_path / "out" / "bundle",
        recipes=("float32", "int8"),
    )
    process = PROCESSES.Process(target=_dies, args=(fresh, 2))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert not fresh.out.exists()
    real, made = workshop.make_artifact, []

    def counted(target: Any, recipe: Any, *arguments: Any, **options: Any) -> Any:
        made.append(recipe)
        return real(target, recipe, *arguments, **options)

    monkeypatch.setattr(workshop, "make_artifact", counted)
    recipe = _search(fresh, monkeypatch)
    assert recipe.rule_for(SPOILED, "linear").precision == "float32"
    assert made
    assert {each.name for each in made} == {"search"}, "the whole recipe was known"
    assert not list(fresh.out.parent.iterdir()), "what the killed run left behind is swept up"


@pytest.mark.slow
def test_few_flips_give_the_smallest(
    exported: Exported, settings: ExportSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole int8 recipe does not pass, and a mixture is far smaller than float32."""
    settings = replace(settings, recipes=("float32", "int8"))
    recipe = _search(settings, monkeypatch, budget=None, max_flips=0.02)
    assert recipe.name == "search"
    assert recipe.rule_for(SPOILED, "linear").precision == "float32"


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (
            {"budget": 9000},
            ("passes with at most 9.0 kB", "the smallest that passes otherwise is int4_int4emb"),
        ),
        ({"max_flips": 0.001}, ("texts cannot show", "it takes 2995 texts")),
    ],
)
def test_what_cannot_be_had_is_a_sentence_and_no_bundle(
    exported: Exported, settings: ExportSettings, tmp_path: Path, bounds: Any, words: Any
) -> None:
    assert settings.search is not None
    search = replace(settings.search, **bounds)
    with pytest.raises(UserError) as caught:
        export_bundle(replace(settings, search=search, out=tmp_path / "bundle"))
    for word in words:
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_target_and_labels_only(settings: ExportSettings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one target"):
        export_bundle(replace(settings, targets=("onnx", "tflite")))
