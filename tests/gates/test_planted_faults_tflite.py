"""The same kind of faults in TFLite files, float32 and int8, planted by editing the flatbuffer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.reference import MASKED_SCORE
from export.targets.tflite._flatbuffer import has_data, load, text, values_of
from export.targets.tflite._packing import packed
from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import ArtifactReport, judge

LINEAR = "distilbert.transformer.layer.0.ffn.lin1.weight"
TABLE = "distilbert.embeddings.word_embeddings.weight"


def _edit(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change one constant in every signature that reads it."""
    model = load(path)
    buffers = {
        tensor.buffer: values_of(model, tensor).copy()
        for graph in model.subgraphs
        for tensor in graph.tensors
        if text(tensor.name) == name and has_data(model, tensor)
    }
    assert buffers, name
    for index, values in buffers.items():
        changed = np.ascontiguousarray(change(values)).astype(values.dtype)
        model.buffers[index].data = changed.reshape(-1).view(np.uint8)
    path.write_bytes(bytes(packed(model)))


def _mask_name(path: Path) -> str:
    model = load(path)
    (name,) = {
        text(tensor.name)
        for graph in model.subgraphs
        for tensor in graph.tensors
        if has_data(model, tensor)
        and values_of(model, tensor).reshape(-1).tolist() == [MASKED_SCORE]
    }
    return name


def _judge(folder: Path, name: str) -> ArtifactReport:
    bundle = open_bundle(folder, verify=False)
    only = tuple(a for a in bundle.manifest.artifacts if a.path == name)
    bundle = Bundle(bundle.path, replace(bundle.manifest, artifacts=only))
    report = judge(bundle, read_golden(folder / GOLDEN), read_gates(folder / PARITY))
    return report.artifacts[0]


FILES = ("model.tflite", "model_int8.tflite")


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


@pytest.mark.parametrize("file", FILES)
def test_rewriting_alone_changes_no_bit(copied: Path, file: str) -> None:
    _edit(copied / file, LINEAR, lambda values: values)
    report = _judge(copied, file)
    golden = read_golden(copied / GOLDEN)
    assert report.verdict == "pass"
    assert (report.logits == golden.artifacts[file]).all()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("name", "change", "caught"),
    [
        (LINEAR, np.zeros_like, {"max_rel", "sqnr_db"}),
        (LINEAR, lambda v: np.roll(v, 1, axis=0), {"max_rel", "sqnr_db"}),
        (TABLE, lambda v: np.roll(v, 1, axis=0), {"max_rel", "cosine", "sqnr_db", "metric_drop"}),
        ("classifier.bias", lambda v: v + np.array([9, 0, 0]), {"max_rel", "sqnr_db", "flip_rate"}),
        ("classifier.bias", lambda v: v * np.nan, {"non_finite", "large_margin_flips"}),
    ],
    ids=["zeroed-layer", "rolled-channels", "rolled-embedding", "biased-label", "nan"],
)
def test_a_planted_fault_fails(
    copied: Path, file: str, name: str, change: Callable[[Any], Any], caught: set[str]
) -> None:
    _edit(copied / file, name, change)
    report = _judge(copied, file)
    failed = {check.figure for check in report.checks if not check.passed}
    assert report.verdict == "fail"
    assert caught <= failed, sorted(failed)


@pytest.mark.parametrize("file", FILES)
def test_a_dropped_mask_fails(copied: Path, file: str) -> None:
    """TFLite always pads, so attending to padding shows in every figure."""
    _edit(copied / file, _mask_name(copied / file), lambda values: values * 0)
    report = _judge(copied, file)
    assert report.verdict == "fail"
    assert "sqnr_db" in {check.figure for check in report.checks if not check.passed}
