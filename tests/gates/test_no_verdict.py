"""What must be neither a pass nor a failure: there is nothing to judge by."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_support import PLANTS, failed, judge_one, one_artifact, plant_in

from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.golden import EffectiveLogits, read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import judge


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_an_untrained_reference_is_unknown(copied: Path) -> None:
    """Agreeing with a model that answers the same for every text proves nothing."""
    plant_in(copied, "model.onnx", PLANTS["constant_output"])
    bundle, golden = one_artifact(copied, "model.onnx"), read_golden(copied / GOLDEN)
    gates = read_gates(copied / PARITY)
    logits = judge(bundle, golden, gates).artifacts[0].logits
    # As if it had been exported like that: nothing but the reference speaks against it.
    rows = golden.effective["model.onnx"].rows
    own = {"model.onnx": EffectiveLogits(rows, logits[list(rows)])}
    (spec,) = bundle.manifest.artifacts
    spec = replace(spec, weights=replace(spec.weights, stored=()))
    bundle = Bundle(bundle.path, replace(bundle.manifest, artifacts=(spec,)))
    second = judge(bundle, replace(golden, reference=logits, effective=own), gates)
    assert second.artifacts[0].figures["max_abs"] == 0.0
    assert second.verdict == "unknown"
    assert any("not learned" in doubt for doubt in second.reference_doubts)


def test_an_architecture_without_limits_is_unknown(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    report = judge_one(copied, "model.onnx")
    assert report.verdict == "unknown"
    assert any("no limits for riscv64" in doubt for doubt in report.doubts)


def test_a_length_that_no_case_has_is_unknown(copied: Path) -> None:
    golden = read_golden(copied / GOLDEN)
    short = [i for i, case in enumerate(golden.cases) if len(case.input_ids) <= 32]
    places = {row: place for place, row in enumerate(short)}
    effective = {}
    for path, own in golden.effective.items():
        kept = [i for i, row in enumerate(own.rows) if row in places]
        rows = tuple(places[own.rows[i]] for i in kept)
        effective[path] = EffectiveLogits(rows, own.logits[kept])
    fewer = replace(
        golden,
        cases=tuple(golden.cases[i] for i in short),
        reference=golden.reference[short],
        effective=effective,
    )
    report = judge(open_bundle(copied, verify=False), fewer, read_gates(copied / PARITY))
    doubts = {a.path: " ".join(a.doubts) for a in report.artifacts}
    assert "sequence length" in doubts["model.tflite"]
    assert "sequence length" not in doubts["model.onnx"]
    assert {a.path: a.verdict for a in report.artifacts}["model.tflite"] == "unknown"


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.tflite", "model.mlpackage"])
def test_editing_alone_changes_nothing(copied: Path, name: str) -> None:
    before = judge_one(copied, name)
    plant_in(copied, name, None)
    after = judge_one(copied, name)
    assert np.array_equal(before.logits, after.logits)
    assert after.verdict == before.verdict == "pass"


def test_a_mask_that_is_dropped_shows_only_where_somebody_pads(copied: Path) -> None:
    plant_in(copied, "model.onnx", PLANTS["dropped_mask"])
    report = judge_one(copied, "model.onnx")
    assert report.verdict == "fail"
    # The graph part runs padded; the score is a stored constant.
    assert failed(report) <= {"padding_rel", "batch_rel", "graph_max_abs", "changed_weights"}
    assert "padding_rel" in failed(report)
    assert report.figures["max_rel"] < 2e-5, "unpadded, it answers rightly"
