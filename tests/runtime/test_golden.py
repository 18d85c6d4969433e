from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import BundleError
from runtime.golden import (
    AWKWARD,
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
        assert np.abs(logits - golden.reference).max() < 0.2
    assert not (golden.artifacts["model_int8.onnx"] == golden.reference).all()
