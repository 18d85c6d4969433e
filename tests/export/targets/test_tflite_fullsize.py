"""TFLite at DistilBERT's own size: 66 million parameters, three lengths in one file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import tflite
from export.targets.precision import check_precision
from runtime.manifest import ArtifactSpec, WeightsSummary
from runtime.sessions import SessionSettings, open_session

pytestmark = pytest.mark.slow

LENGTHS = (32, 64, 128)
FLOAT32_LIMIT, INT8_LIMIT = 267_000_000, 68_000_000
RULES = [WeightsRule("int8", each, "minmax") for each in ("channel", "row")]
RECIPE = Recipe("tflite", "int8", 1, "int8", "x", "", *RULES, {}, {})


@pytest.fixture(scope="module")
def reference() -> Reference:
    torch.manual_seed(1)
    model = DistilBertForSequenceClassification(DistilBertConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0) if parameter.ndim == 2 else parameter.add_(
                torch.randn_like(parameter) * 0.1
            )
    return reference_from_model(model)


def test_full_size_files_are_small_complete_and_right(reference: Reference, tmp_path: Path) -> None:
    float32, int8 = tmp_path / "model.tflite", tmp_path / "model_int8.tflite"
    tflite.convert(reference, LENGTHS, float32)
    tflite.quantize(float32, RECIPE, int8)
    assert float32.stat().st_size <= FLOAT32_LIMIT
    assert int8.stat().st_size <= INT8_LIMIT
    check_precision(tflite.describe(int8), RECIPE, int8.name)
    again = tmp_path / "again.tflite"
    tflite.quantize(float32, RECIPE, again)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(int8.read_bytes()).digest()
    random = np.random.default_rng(0)
    rows = [random.integers(1, 30522, n).tolist() for n in (5, 32, 33, 100, 128)]
    expected = reference_logits(reference, rows)
    for path, limit in ((float32, 2e-4), (int8, 0.35 * float(np.ptp(expected)))):
        found = tflite.describe(path)
        spec = ArtifactSpec(
            path.name, "tflite", "r", "p", 0, "", found.inputs, found.outputs, found.lengths,
            found.minimum_runtime, WeightsSummary({}, ()), "pass",
        )  # fmt: skip
        session = open_session(path, spec, SessionSettings(threads=2))
        for row, wanted in zip(rows, expected, strict=True):
            ids = np.array([row], dtype=np.int32)
            np.testing.assert_allclose(session.run(ids, np.ones_like(ids))[0], wanted, atol=limit)
