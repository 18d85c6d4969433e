from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from export.checkpoint import find_checkpoint
from export.data import DataSettings, load_dataset
from export.data.task import Example, TextDataset
from export.model_choice import labels_of, relabel, task_spec
from export.pipeline import export_bundle
from export.planning import ExportSettings
from export.training.thresholds import (
    HIGHEST,
    LOWEST,
    PRIOR_POSITIVES,
    best_cut,
    recorded_thresholds,
    tune_thresholds,
)
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.manifest import TaskSpec
from runtime.parity.reference_gate import doubts_about_reference

from support import TINY_SETTINGS


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize("seed", range(20))
def test_no_other_cut_is_better(seed: int) -> None:
    """Against every cut between two logits; coarse logits, so that there are ties."""
    random = np.random.default_rng(seed)
    truth = random.random(60) < random.choice([0.05, 0.3, 0.8])
    z = np.round(random.normal(size=60) + truth, 1)
    if not truth.any():
        truth[0] = True
    cut = best_cut(z, truth)
    distinct = np.unique(z)
    cuts = (distinct[1:] + distinct[:-1]) / 2
    scores = [f1_score(truth, z >= c) for c in cuts]
    assert f1_score(truth, z >= cut) == pytest.approx(max(scores))
    equals = cuts[np.isclose(scores, max(scores))]
    assert abs(cut) == pytest.approx(np.abs(equals).min())


@pytest.mark.parametrize(
    ("z", "truth"), [([1.0, 1.0, 1.0], [1, 0, 1]), ([1.0, 2.0], [0, 0]), ([5.0], [1])]
)
def test_where_no_cut_says_anything_it_is_a_half(z: list[float], truth: list[int]) -> None:
    assert best_cut(np.array(z), np.array(truth, dtype=bool)) == 0.0


def test_a_gap_is_cut_in_the_middle_and_neither_all_nor_none_are_given() -> None:
    z, truth = np.array([3.0, 2.0, -4.0]), np.array([True, True, False])
    assert best_cut(z, truth) == -1.0
    # Best would be to give it to every text; the lowest one stays out.
    z, truth = np.array([3.0, 2.0, 1.0, 0.5]), np.array([False, True, True, True])
    assert best_cut(z, truth) == 0.75


def _skewed(random: np.random.Generator, texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Honest probabilities of rare labels: at 0.5 hardly any is given."""
    z = random.normal(size=(texts, 6)) * 1.5 - (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    return z, random.random(z.shape) < 1 / (1 + np.exp(-z))


def test_tuned_thresholds_beat_a_half_on_new_texts() -> None:
    """Ten seeds; the least gain of micro F1 on texts that played no part was 0.10 when written."""
    gains, macro_gains = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        z, truth = _skewed(random, 600)
        thresholds = np.array(tune_thresholds(z, truth))
        new_z, new_truth = _skewed(random, 4000)
        p = 1 / (1 + np.exp(-new_z))
        for average, into in (("micro", gains), ("macro", macro_gains)):
            tuned, half = (
                f1_score(new_truth, p >= cut, average=average, zero_division=0)
                for cut in (thresholds, 0.5)
            )
            into.append(tuned - half)
    assert min(gains) > 0.05
    assert min(macro_gains) > 0.05


def test_few_positives_hardly_move_a_threshold() -> None:
    """One positive far away: 1 in 21 parts of the way, where the common cut is at 0."""
    random = np.random.default_rng(0)
    common = np.linspace(-3, 3, 400)
    rare = random.normal(size=400) - 6.0
    truth = np.stack([common > 0, np.zeros(400, dtype=bool)], axis=1)
    rare[5], truth[5, 1] = -2.0, True
    z = np.stack([common, rare], axis=1)
    pooled = best_cut(z.ravel(), truth.ravel())
    own = best_cut(z[:, 1], truth[:, 1])
    assert own < -2.0
    expected = (own + PRIOR_POSITIVES * pooled) / (1 + PRIOR_POSITIVES)
    assert _logit(tune_thresholds(z, truth)[1]) == pytest.approx(expected, abs=2e-3)


def test_many_positives_have_a_threshold_of_their_own() -> None:
    random = np.random.default_rng(1)
    truth = random.random((8000, 2)) < 0.5
    z = random.normal(scale=0.3, size=truth.shape) + truth * 4.0 - (4.0, 0.0)
    first, second = map(_logit, tune_thresholds(z, truth))
    assert first == pytest.approx(-2.0, abs=0.4)
    assert second == pytest.approx(2.0, abs=0.4)


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_thresholds_are_probabilities_whatever_comes(fill: int, scale: float) -> None:
    z = np.random.default_rng(2).normal(size=(30, 3)) * scale
    truth = np.full((30, 3), fill)
    truth[0] = 1
    for threshold in tune_thresholds(z, truth):
        assert LOWEST <= threshold <= HIGHEST


def test_logits_must_be_numbers() -> None:
    with pytest.raises(UserError, match="not finite"):
        tune_thresholds(np.array([[np.nan]]), np.array([[1]]))


def _record(folder: Path, **values: object) -> Path:
    """A checkpoint's record, with fields in place of its own."""
    file = folder / "training.json"
    content = json.loads(file.read_bytes())
    content |= values
    file.write_text(json.dumps(content))
    return folder


@pytest.fixture
def own_copy(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "checkpoint"))


def _dataset(labels: tuple[str, ...]) -> TextDataset:
    rows = (Example("a", (0,)), Example("b", (1,)))
    return TextDataset(
        "d", "multi_label", labels, dict.fromkeys(("train", "validation", "test"), rows), (), ()
    )


def test_thresholds_follow_their_labels(own_copy: Path) -> None:
    data = {"name": "d", "sha256": "0", "labels": ["x", "y", "z"], "multi_label": True}
    _record(own_copy, data=data, thresholds=[0.1, 0.2, 0.3])
    checkpoint = find_checkpoint(str(own_copy))
    dataset = _dataset(("z", "x"))
    assert task_spec(dataset, checkpoint).thresholds == (0.3, 0.1)
    turned = relabel(dataset, ("y", "z", "new", "x"))
    assert task_spec(turned, checkpoint).thresholds == (0.2, 0.3, 0.5, 0.1)
    assert task_spec(dataset).thresholds == (0.5, 0.5)
    single = replace(dataset, kind="single_label")
    assert task_spec(single, checkpoint).thresholds is None


def test_a_checkpoint_without_a_record_of_ours_keeps_a_half(own_copy: Path) -> None:
    assert recorded_thresholds(own_copy) == {}  # a single-label run has none
    (own_copy / "training.json").write_text('{"learning_rate": 0.1}')
    assert recorded_thresholds(own_copy) == {}
    (own_copy / "training.json").unlink()
    assert task_spec(_dataset(("x", "y")), find_checkpoint(str(own_copy))).thresholds == (0.5, 0.5)


@pytest.mark.parametrize("thresholds", [[0.5], [0.0, 0.5], [0.5, 1.0], [0.5, "half"], [0.5, None]])
def test_broken_thresholds_are_refused(own_copy: Path, thresholds: list[object]) -> None:
    data = {"name": "d", "sha256": "0", "labels": ["x", "y"], "multi_label": True}
    _record(own_copy, data=data, thresholds=thresholds)
    with pytest.raises(UserError, match="not one probability per label"):
        recorded_thresholds(own_copy)


def test_a_torn_record_is_refused(own_copy: Path) -> None:
    content = (own_copy / "training.json").read_bytes()
    (own_copy / "training.json").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"training\.json cannot be read"):
        recorded_thresholds(own_copy)


def test_the_reference_gate_uses_them() -> None:
    """An honest model of rare labels gives none at 0.5, and is no better than a constant answer."""
    random = np.random.default_rng(3)
    z = _skewed(random, 3000)[0] - 1.5
    truth = random.random(z.shape) < 1 / (1 + np.exp(-z))
    labels = tuple("abcdef")
    half = TaskSpec("multi_label", "sigmoid", labels, (0.5,) * 6)
    tuned = replace(half, thresholds=tune_thresholds(z, truth))
    logits = z.astype(np.float32)
    assert "has not learned the task" in doubts_about_reference(logits, truth, half)[0]
    assert doubts_about_reference(logits, truth, tuned) == ()


def test_tuned_thresholds_reach_the_bundle_and_what_it_answers(tmp_path: Path) -> None:
    """Fine-tune, export, classify: the labels stand in another order in the data's file."""
    random = np.random.default_rng(0)
    places = ("sea", "hill", "town", "wood", "lake", "moor")
    rows = []
    for index in range(2000):
        chosen = [p for p in places if random.random() < 0.25] or ["moor"]
        words = [*random.permutation([*chosen, "near", "by", f"no{index % 97}"])]
        # The labels are noisy, so that the best thresholds are not 0.5.
        wet = int(bool({"sea", "lake"} & {*chosen}) and random.random() < 0.6)
        high = int("hill" in chosen and random.random() < 0.4)
        rows.append((" ".join(words), wet, high))
    data = tmp_path / "places.csv"
    lines = ["text,wet,high", *(f"{text},{wet},{high}" for text, wet, high in rows)]
    data.write_text("\n".join(lines))

    model = replace(TINY_SETTINGS, hyperparameters=TINY_SETTINGS.effective.override(epochs=3))
    settings = ExportSettings(
        targets=("onnx",),
        recipes=("float32",),
        out=tmp_path / "bundle",
        data=DataSettings(source=str(data), label_columns=("wet", "high")),
        model=model,
        checkpoints=tmp_path / "checkpoints",
    )
    exported = export_bundle(settings)
    assert exported.bundle is not None
    assert exported.training is not None
    record = exported.training.record
    assert record.thresholds is not None
    assert record.thresholds != (0.5, 0.5)
    told = dict(zip(record.data["labels"], record.thresholds, strict=True))
    manifest = open_bundle(exported.bundle).manifest
    assert manifest.task.thresholds == tuple(told[label] for label in manifest.task.labels)
    folder = exported.training.checkpoint
    assert {"training.html", "curves.png"} <= {path.name for path in folder.iterdir()}
    card = (exported.bundle / "README.md").read_text("utf-8")
    assert "| bag of words | " in card
    assert f"- test_micro_f1: {record.test['micro_f1']:.4f}" in card

    # The same checkpoint for data that name the labels the other way round.
    turned = load_dataset(DataSettings(source=str(data), label_columns=("high", "wet")))
    checkpoint = find_checkpoint(str(folder))
    assert turned.labels == tuple(reversed(checkpoint.labels))
    task = task_spec(relabel(turned, labels_of(checkpoint, turned)), checkpoint)
    assert task == manifest.task
