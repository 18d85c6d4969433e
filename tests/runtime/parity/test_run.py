from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import EffectiveLogits, Golden, read_golden
from runtime.parity.document import read_gates, scope
from runtime.parity.evidence import this_machine
from runtime.parity.judge import judge
from runtime.parity.run import run_artifact, session_settings
from runtime.parity.table import split_lines

PATH = "model.mlpackage"


@pytest.fixture(scope="module")
def golden(bundle_folder: Path) -> Golden:
    return read_golden(bundle_folder / GOLDEN)


def _only(bundle: Bundle, path: str) -> Bundle:
    chosen = tuple(a for a in bundle.manifest.artifacts if a.path == path)
    return Bundle(bundle.path, replace(bundle.manifest, artifacts=chosen))


def test_the_error_is_split_in_three(bundle: Bundle, golden: Golden) -> None:
    """Move the effective logits by a known amount: two parts follow, the third does not."""
    gates = read_gates(bundle.path / PARITY)
    before = judge(_only(bundle, PATH), golden, gates).artifacts[0].figures
    own = golden.effective[PATH]
    moved = EffectiveLogits(own.rows, own.logits + np.float32(8.0))
    after = judge(_only(bundle, PATH), replace(golden, effective={PATH: moved}), gates)
    figures = after.artifacts[0].figures
    assert figures["compression_max_abs"] == pytest.approx(8.0, abs=0.1)
    assert figures["graph_max_abs"] == pytest.approx(8.0, abs=1e-4)
    assert figures["precision_max_abs"] == before["precision_max_abs"]


@pytest.mark.parametrize("path", ["model.onnx", "model_int8.tflite", PATH])
def test_some_rows_give_what_they_give_among_all(bundle: Bundle, golden: Golden, path: str) -> None:
    rows = range(3, len(golden.cases), 5)
    artifact = bundle.artifact(path)
    found = run_artifact(bundle, artifact, golden, session_settings(bundle), rows=rows)
    assert found.rows == tuple(rows)
    assert (found.logits == golden.artifacts[path][list(rows)]).all()
    assert found.sha256 == artifact.sha256
    assert found.machine == this_machine()
    assert {"padding_rel", "batch_rel", "order_rel", "repeat_rel", "cold_rel"} <= set(
        found.measured
    )


def test_a_bundle_tells_the_parts_and_what_is_left_open(bundle: Bundle, golden: Golden) -> None:
    report = judge(_only(bundle, PATH), golden, read_gates(bundle.path / PARITY))
    figures = report.artifacts[0].figures
    assert 0 < figures["graph_max_abs"] < 1e-4
    assert 0 < figures["precision_max_abs"] < 0.1
    assert figures["graph_max_abs"] < figures["compression_max_abs"]
    assert split_lines(report)[0].startswith("model.mlpackage: compression ")
    (text,) = (line for line in scope(report) if "Apple" in line)
    assert "not run on Apple hardware" in text
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert text in card
    assert split_lines(report)[0] in card


def test_a_graph_that_is_wrong_by_little_fails(bundle: Bundle, golden: Golden) -> None:
    """2e-4 logits: far inside every other limit."""
    effective = golden.effective[PATH]
    moved = EffectiveLogits(effective.rows, effective.logits + np.float32(2e-4))
    report = judge(
        _only(bundle, PATH),
        replace(golden, effective={PATH: moved}),
        read_gates(bundle.path / PARITY),
    )
    failed = [check.figure for check in report.artifacts[0].checks if not check.passed]
    assert failed == ["graph_max_abs"]
    assert report.verdict == "fail"


def test_without_the_effective_logits_it_fails(bundle: Bundle, golden: Golden) -> None:
    """Whoever leaves them out of golden.json must not get rid of the check."""
    report = judge(
        _only(bundle, PATH), replace(golden, effective={}), read_gates(bundle.path / PARITY)
    )
    failed = [check.figure for check in report.artifacts[0].checks if not check.passed]
    assert failed == ["graph_max_abs"]


def test_what_a_runtime_cannot_measure_the_export_must_have(
    bundle: Bundle, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's runtime cannot be exact: fine for a package that passed, not for a new one."""
    monkeypatch.delattr("runtime.sessions.coreml_session.CoreMLSession.run_exact")
    one = _only(bundle, PATH)
    report = judge(one, golden, read_gates(bundle.path / PARITY))
    assert report.artifacts[0].not_measured == ("graph_max_abs",)
    assert report.verdict == "pass"
    assert any("not measured there: graph_max_abs" in line for line in scope(report))
    fresh = replace(one.manifest.artifacts[0], gate="unknown")
    unjudged = Bundle(one.path, replace(one.manifest, artifacts=(fresh,)))
    report = judge(unjudged, golden, read_gates(bundle.path / PARITY))
    assert report.verdict == "unknown"
    assert report.artifacts[0].doubts == ("not measured: graph_max_abs",)
