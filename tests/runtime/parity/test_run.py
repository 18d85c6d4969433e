from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import EffectiveLogits, Golden, read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import judge
from runtime.parity.run import ArtifactRun, split_figures
from runtime.parity.table import limitations, split_lines

PATH = "model.mlpackage"


@pytest.fixture(scope="module")
def golden(bundle_folder: Path) -> Golden:
    return read_golden(bundle_folder / GOLDEN)


def _only(bundle: Bundle, path: str) -> Bundle:
    chosen = tuple(a for a in bundle.manifest.artifacts if a.path == path)
    return Bundle(bundle.path, replace(bundle.manifest, artifacts=chosen))


def test_the_error_is_split_in_three() -> None:
    reference = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32)
    golden = Golden((), reference, {}, {"m": EffectiveLogits((0, 2), reference[[0, 2]] + 0.5)})
    run = ArtifactRun(
        logits=reference + np.float32(1.0),
        lengths={},
        padding_change=0.0,
        exact=reference[[0, 2]] + np.float32(0.75),
        probabilities_change=None,
        changed_weights=None,
        environment={},
    )
    assert split_figures(run, golden, "m") == {
        "compression_max_abs": 0.5, "graph_max_abs": 0.25, "precision_max_abs": 0.25,
    }  # fmt: skip
    assert split_figures(run, golden, "other") == {}
    assert split_figures(replace(run, exact=None), golden, "m") == {}
    broken = replace(run, exact=np.full((2, 2), np.nan, dtype=np.float32))
    assert np.isnan(split_figures(broken, golden, "m")["graph_max_abs"])


def test_a_bundle_tells_the_parts_and_what_is_left_open(bundle: Bundle, golden: Golden) -> None:
    report = judge(_only(bundle, PATH), golden, read_gates(bundle.path / PARITY))
    figures = report.artifacts[0].figures
    assert 0 < figures["graph_max_abs"] < 1e-4
    assert 0 < figures["precision_max_abs"] < 0.1
    assert figures["graph_max_abs"] < figures["compression_max_abs"]
    assert split_lines(report)[0].startswith("model.mlpackage: compression ")
    (text,) = limitations(report)
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


def test_a_runtime_that_cannot_be_exact_gives_unknown(
    bundle: Bundle, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's runtime is one."""
    monkeypatch.delattr("runtime.sessions.coreml_session.CoreMLSession.run_exact")
    report = judge(_only(bundle, PATH), golden, read_gates(bundle.path / PARITY))
    assert report.verdict == "unknown"
    assert "cannot tell a wrong graph" in report.artifacts[0].doubts[0]
