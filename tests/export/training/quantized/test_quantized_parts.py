"""Dealing texts out, comparing scores, planning a model's weights, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from export.families import families
from export.recipes import Recipe, WeightsRule, recipes
from export.settings import ModelSize
from export.training.model import new_model
from export.training.quantized.compare import compare
from export.training.quantized.on_grid import lies_on_grid
from export.training.quantized.plan import plan_of
from export.training.quantized.provenance import notes_on, told_of_tuning
from export.training.quantized.rounds import Rounds
from export.training.quantized.settings import TuneSettings, find_recipe, suitable
from export.training.quantized.table import doubt
from runtime.errors import UserError

from support import seeded_classifier

INT8 = recipes("onnx")["int8"]


class Numbers(torch.utils.data.Dataset[dict[str, Any]]):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index}


# Rounds.


def test_no_text_comes_twice_before_all_came_once() -> None:
    lengths = [(7 * i) % 23 for i in range(50)]
    rounds = Rounds(Numbers(), lengths, size=20, rounds=4, seed=3)
    seen = []
    for number in range(4):
        rounds.epoch = number
        rows = [rounds[i]["index"] for i in range(20)]
        counts = [lengths[row] for row in rows]
        assert counts == sorted(counts)
        if number == 0:
            assert counts == rounds.lengths
        seen += rows
    assert set(seen[:40]) <= set(range(50))
    assert len(set(seen[:40])) == 40
    assert len(seen) == 80
    assert max(np.bincount(seen)) == 2


def test_rounds_follow_the_seed_and_know_rows_without_a_target() -> None:
    one, same, other = (
        Rounds(Numbers(), [5] * 30, size=10, rounds=3, seed=seed) for seed in (1, 1, 2)
    )
    rows = [[each[i]["index"] for i in range(10)] for each in (one, same, other)]
    assert rows[0] == rows[1] != rows[2]
    assert one[10 + 4]["index"] == 30 + one[4]["index"]


# Scores.


def logits_for(answers: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[answers]


def test_scores_by_hand() -> None:
    """Of ten texts the float model gets eight right; rounding loses two more and tuning one."""
    truth = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    before = truth.tolist()
    before[0], before[1] = 1, 2
    rounded, tuned = list(before), list(before)
    rounded[2], rounded[3] = 0, 1
    tuned[4], tuned[0] = 0, 2
    found = compare(
        "test", truth, before=logits_for(before), rounded=logits_for(rounded),
        tuned=logits_for(tuned), settled=logits_for(before), multi_label=False, seed=1,
    )  # fmt: skip
    assert (found.before, found.rounded.score, found.tuned.score) == (0.8, 0.6, 0.7)
    assert (found.rounded.flips, found.tuned.flips, found.artifact_flips) == (0.2, 0.2, 0.2)
    assert found.rounded.low < 0.2 < found.rounded.high
    assert found.tuned.low < 0.1 < found.tuned.high
    assert not doubt(found)
    assert "lost accuracy against plain rounding" in doubt(
        replace(found, tuned=replace(found.tuned, score=0.59))
    )
    json.dumps(found.to_json())


def test_scores_of_several_labels_a_text() -> None:
    truth = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    exact = np.where(truth, 2.0, -2.0).astype(np.float32)
    worse = exact.copy()
    worse[0, 0] = -1.0
    found = compare(
        "test", truth, before=exact, rounded=worse, tuned=exact, settled=exact,
        multi_label=True, seed=1,
    )  # fmt: skip
    assert found.metric == "micro_f1"
    assert (found.before, found.tuned.score) == (1.0, 1.0)
    assert found.rounded.score == pytest.approx(6 / 7)
    assert found.rounded.flips == 1 / 8
    assert found.rounded.low < 1 / 7 < found.rounded.high


# Plans.


def test_a_plan_leaves_float_what_the_target_leaves_float() -> None:
    """Three labels of 64 numbers: ONNX keeps the classifier in float, LiteRT does not."""
    model = seeded_classifier(1)
    onnx, tflite = (
        plan_of(model, recipes(target)["int8"]).weights for target in ("onnx", "tflite")
    )
    assert set(tflite) - set(onnx) == {"classifier.weight"}
    assert len(onnx) == 2 + 2 * 6 + 1
    assert onnx["distilbert.embeddings.word_embeddings.weight"].granularity == "row"


def test_a_plan_follows_rules_for_single_layers() -> None:
    model = seeded_classifier(1)
    rule = WeightsRule("int4", "block", "minmax", 32, scale="multiple")
    floats = WeightsRule("float32", "none", "none")
    name = "distilbert.transformer.layer.0.ffn.lin1"
    recipe = replace(INT8, layers={f"{name}.weight": rule, "pre_classifier.weight": floats})
    plan = plan_of(model, recipe)
    assert plan.weights[f"{name}.weight"] == rule
    assert "pre_classifier.weight" not in plan.weights
    assert "pre_classifier" not in plan.inputs
    assert name in plan.inputs


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (recipes("onnx")["float32"], "every weight of this model in float"),
        (recipes("coreml")["int8"], "a model cannot be tuned for coreml's recipe int8"),
        (
            replace(INT8, linear=WeightsRule("int4", "block", "minmax", 48)),
            "no whole number of blocks of 48",
        ),
        (replace(INT8, linear=WeightsRule("lut6", "group", "kmeans", 16)), "cannot be rounded"),
    ],
    ids=["float32", "coreml", "blocks", "palette"],
)
def test_what_cannot_be_tuned(recipe: Recipe, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_of(seeded_classifier(1), recipe)
    assert not lies_on_grid(seeded_classifier(1), recipe)


def test_a_family_with_weights_outside_of_layers_is_refused() -> None:
    torch.manual_seed(0)
    size = ModelSize(vocab_size=200, dim=64, layers=1, heads=4, hidden_dim=64)
    texts = ["the sky is bright", "the lake is icy"]
    model, _ = new_model(families()["xlnet"], size, texts, ("a", "b"), max_length=32)
    with pytest.raises(UserError, match="xlnet cannot be tuned for a recipe"):
        plan_of(model, INT8)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 4}, "4 steps cannot be judged 5 times"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"alpha": 1.5}, "alpha must lie between"),
        ({"limit": 0}, "at least one text"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TuneSettings("folder", INT8, **values)


def test_a_recipe_by_name() -> None:
    assert find_recipe("onnx", "int8") == INT8
    with pytest.raises(UserError, match="there is no recipe 'int3' for the target 'onnx'"):
        find_recipe("onnx", "int3")
    assert suitable(128).learning_rate > suitable(768).learning_rate


# What is told.


def test_a_model_that_was_not_tuned_is_told_nothing_about() -> None:
    assert notes_on(None, [(INT8, False)]) == []
    assert told_of_tuning(None) == ""
    assert not lies_on_grid(seeded_classifier(1), INT8)
