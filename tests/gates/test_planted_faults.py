"""Faults planted in real artifacts by editing the file: each must turn the verdict.

A gate that no fault can fail is decoration. The table at the end of each case names the figures
that catch it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.reference import MASKED_SCORE
from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import ParityReport, judge

Arrays = dict[str, np.ndarray]


def _edit(path: Path, change: Callable[[Arrays], Arrays]) -> None:
    model = onnx.load(path)
    arrays = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    changed = change(arrays)
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    onnx.save(model, path)


def _large(arrays: Arrays, columns: int | None = None) -> str:
    """Name of the first large matrix, or of the first with so many columns."""
    return next(
        name
        for name, a in arrays.items()
        if a.ndim == 2 and a.size > 1000 and (columns is None or a.shape[1] == columns)
    )


def _classifier(arrays: Arrays) -> list[str]:
    """Weight and bias of the last layer: the only tensors with an axis of three labels."""
    names = [n for n, a in arrays.items() if a.dtype == np.float32 and 3 in a.shape]
    assert len(names) == 2, names
    return names


def nan_weight(arrays: Arrays) -> Arrays:
    name = _classifier(arrays)[0]
    arrays[name].flat[0] = np.nan
    return {name: arrays[name]}


def permuted_labels(arrays: Arrays) -> Arrays:
    return {
        name: np.roll(arrays[name], 1, axis=arrays[name].shape.index(3))
        for name in _classifier(arrays)
    }


def constant_output(arrays: Arrays) -> Arrays:
    weight = max(_classifier(arrays), key=lambda n: arrays[n].size)
    return {weight: np.zeros_like(arrays[weight])}


def zeroed_layer(arrays: Arrays) -> Arrays:
    return {(n := _large(arrays, columns=128)): np.zeros_like(arrays[n])}


def wrong_scale(arrays: Arrays) -> Arrays:
    return {(n := _large(arrays, columns=128)): arrays[n] * np.float32(1.05)}


def shifted_embedding(arrays: Arrays) -> Arrays:
    table = max((n for n, a in arrays.items() if a.ndim == 2), key=lambda n: arrays[n].shape[0])
    return {table: np.roll(arrays[table], 1, axis=0)}


def flipped_logits(arrays: Arrays) -> Arrays:
    return {name: -arrays[name] for name in _classifier(arrays)}


FAULTS: dict[Callable[[Arrays], Arrays], set[str]] = {
    nan_weight: {"non_finite", "max_rel", "cosine", "sqnr_db", "flip_rate", "large_margin_flips"},
    permuted_labels: {"max_rel", "cosine", "sqnr_db", "flip_rate", "metric_drop"},
    constant_output: {"max_rel", "cosine", "sqnr_db", "flip_rate", "metric_drop"},
    zeroed_layer: {"max_rel", "sqnr_db"},
    wrong_scale: {"max_rel", "sqnr_db"},
    shifted_embedding: {"max_rel", "cosine", "sqnr_db", "flip_rate", "metric_drop"},
    flipped_logits: {"max_rel", "cosine", "sqnr_db", "flip_rate", "metric_drop"},
}


def _judge(folder: Path, *, rename: Callable[[Bundle], Bundle] = lambda b: b) -> ParityReport:
    bundle = rename(open_bundle(folder, verify=False))
    only = tuple(a for a in bundle.manifest.artifacts if a.path == "model.onnx")
    bundle = Bundle(bundle.path, replace(bundle.manifest, artifacts=only))
    return judge(bundle, read_golden(folder / GOLDEN), read_gates(folder / PARITY))


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_without_a_fault_it_passes(copied: Path) -> None:
    _edit(copied / "model.onnx", lambda arrays: arrays)
    assert _judge(copied).verdict == "pass"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_fails(copied: Path, fault: Callable[[Arrays], Arrays]) -> None:
    _edit(copied / "model.onnx", fault)
    report = _judge(copied)
    caught = {check.figure for check in report.artifacts[0].checks if not check.passed}
    assert report.verdict == "fail"
    assert FAULTS[fault] <= caught, f"caught by {sorted(caught)}"


def test_a_dropped_mask_fails(copied: Path) -> None:
    """Attending to padding shows only where somebody pads."""
    path = copied / "model.onnx"
    model = onnx.load(path)
    scores = [
        t for t in model.graph.initializer if numpy_helper.to_array(t).tolist() == MASKED_SCORE
    ]
    assert len(scores) == 1
    scores[0].CopyFrom(numpy_helper.from_array(np.float32(0.0), scores[0].name))
    onnx.save(model, path)
    report = _judge(copied)
    assert [c.figure for c in report.artifacts[0].checks if not c.passed] == ["padding_rel"]
    assert report.verdict == "fail"


def test_other_ids_fail(copied: Path) -> None:
    """A tokenizer that drifts: cased instead of uncased."""
    path = copied / "tokenizer.json"
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))
    report = _judge(copied)
    assert report.verdict == "fail"
    assert "awkward/capitals" in report.wrong_ids


def test_an_untrained_reference_is_unknown(copied: Path) -> None:
    """Agreeing with a model that answers the same for every text proves nothing."""
    _edit(copied / "model.onnx", constant_output)
    golden = read_golden(copied / GOLDEN)
    bundle = open_bundle(copied, verify=False)
    only = tuple(a for a in bundle.manifest.artifacts if a.path == "model.onnx")
    bundle = Bundle(bundle.path, replace(bundle.manifest, artifacts=only))
    gates = read_gates(copied / PARITY)
    first = judge(bundle, golden, gates)
    same = replace(golden, reference=first.artifacts[0].logits)
    second = judge(bundle, same, gates)
    assert second.artifacts[0].figures["max_abs"] == 0.0
    assert second.verdict == "unknown"
    assert any("not learned" in doubt for doubt in second.reference_doubts)


def test_an_architecture_without_limits_is_unknown(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    report = _judge(copied)
    assert report.verdict == "unknown"
    assert "no limits for riscv64" in report.artifacts[0].doubts[0]


def test_a_length_that_no_case_has_is_unknown(copied: Path) -> None:
    golden = read_golden(copied / GOLDEN)
    short = [i for i, case in enumerate(golden.cases) if len(case.input_ids) <= 32]
    fewer = replace(
        golden,
        cases=tuple(golden.cases[i] for i in short),
        reference=golden.reference[short],
        effective={},
    )
    bundle = open_bundle(copied, verify=False)
    report = judge(bundle, fewer, read_gates(copied / PARITY))
    verdicts = {a.path: a.verdict for a in report.artifacts}
    assert verdicts["model.onnx"] == "pass"
    assert verdicts["model.tflite"] == "unknown"
