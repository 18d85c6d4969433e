from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import BundleError
from runtime.golden import (
    AWKWARD,
    BOUNDARY,
    SETS,
    UNLABELLED,
    VALIDATION,
    EffectiveLogits,
    Golden,
    GoldenCase,
    read_golden,
)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = (
        GoldenCase("validation/0", VALIDATION, "plain", (2, 5, 3), (1, 1, 1), (1,)),
        GoldenCase("awkward/surrogate", AWKWARD, "x \ud83d \x00", (2, 3), (1, 1), None),
    )
    reference = rng.normal(size=(2, 3)).astype(np.float32)
    own = (reference * np.float32(1 / 3)).astype(np.float32)
    effective = {"model.onnx": EffectiveLogits((1,), own[1:] * np.float32(1.1))}
    golden = Golden(cases, reference, {"model.onnx": own}, effective)
    text = golden.dump()
    assert text.isascii()
    (tmp_path / "golden.json").write_text(text)
    again = read_golden(tmp_path / "golden.json")
    assert again.cases == cases
    assert (again.reference == reference).all()
    assert (again.artifacts["model.onnx"] == own).all()
    assert again.effective["model.onnx"].rows == (1,)
    assert (again.effective["model.onnx"].logits == effective["model.onnx"].logits).all()
    assert again.dump() == text
    assert again.rows(AWKWARD).tolist() == [1]


def _golden() -> Golden:
    cases = (
        GoldenCase("validation/0", VALIDATION, "a", (2, 5, 3), (1, 1, 1), (1,)),
        GoldenCase("unlabelled/0", UNLABELLED, "b", (2, 5, 3), (1, 1, 1), None),
        GoldenCase("boundary/0", BOUNDARY, "c", (2, 5, 3), (1, 1, 1), None),
        GoldenCase("awkward/empty", AWKWARD, "", (2, 3), (1, 1), None),
    )
    reference = np.arange(8, dtype=np.float32).reshape(4, 2)
    return Golden(cases, reference, {"model.onnx": reference + 1}, awkward_version=2)


def test_every_set_is_read_back(tmp_path: Path) -> None:
    golden = _golden()
    (tmp_path / "golden.json").write_text(golden.dump())
    again = read_golden(tmp_path / "golden.json")
    assert again.cases == golden.cases
    assert again.awkward_version == 2
    assert [again.rows(name).tolist() for name in SETS] == [[0], [1], [2], [3]]
    assert json.loads(golden.dump())["awkward_version"] == 2


def test_a_file_without_the_newer_sets_is_read_and_has_none_of_them(tmp_path: Path) -> None:
    value = json.loads(_golden().dump())
    del value["awkward_version"]
    value["cases"] = [row for row in value["cases"] if row["set"] in (VALIDATION, AWKWARD)]
    value["later"] = "a key of a later version"
    (tmp_path / "golden.json").write_text(json.dumps(value))
    again = read_golden(tmp_path / "golden.json")
    assert again.awkward_version is None
    for name in (UNLABELLED, BOUNDARY):
        assert again.rows(name).shape == (0,)
        assert again.rows(name).dtype == np.int64
        assert again.reference[again.rows(name)].shape == (0, 2)


def _change(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["cases"][1].update(values)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_change(set="nearly"), "unknown set 'nearly'"),
        (_change(name="validation/0"), "same name"),
        (_change(targets=[0]), "only validation cases have true labels"),
        (_change(set="validation"), "only validation cases have true labels"),
        (_change(attention_mask=[1, 1]), "mask does not fit"),
        (_change(attention_mask=[1, 0, 1]), "mask does not fit"),
        (_change(input_ids=[], attention_mask=[]), "mask does not fit"),
        (_change(reference_logits=[0.0]), "inhomogeneous"),
        (_change(reference_logits=[0.0, float("nan")]), "not a finite number"),
        (_change(reference_logits=[0.0, 1e300]), "not a finite number"),
        (_change(artifact_logits={}), "for some cases only"),
        (_change(effective_logits=[1]), "no attribute"),
        (lambda value: value.update(awkward_version="two"), "two"),
    ],
)
def test_cases_that_contradict_each_other_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    value = json.loads(_golden().dump())
    change(value)
    (tmp_path / "golden.json").write_text(json.dumps(value))
    with pytest.raises(BundleError, match=why):
        read_golden(tmp_path / "golden.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"schema_version": 9, "cases": []}',
        '{"schema_version": 1, "cases": [{}]}',
        '{"schema_version": 1, "cases": []}',
        "[1]",
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "golden.json").write_text(text)
    with pytest.raises(BundleError):
        read_golden(tmp_path / "golden.json")
    with pytest.raises(BundleError, match="cannot be read"):
        read_golden(tmp_path / "missing.json")


def test_the_bundle_holds_what_its_artifacts_answer(bundle_folder: Path) -> None:
    golden = read_golden(bundle_folder / "golden.json")
    assert set(golden.artifacts) == {
        "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite", "model.mlpackage",
        "model_int8.mlpackage",
    }  # fmt: skip
    for logits in golden.artifacts.values():
        errors = np.abs(logits - golden.reference).max(axis=1)
        assert errors[golden.rows(VALIDATION)].max() < 0.2
        assert errors.max() < 0.5, "where the decision tips over, logits move most"
    assert not (golden.artifacts["model_int8.onnx"] == golden.reference).all()
