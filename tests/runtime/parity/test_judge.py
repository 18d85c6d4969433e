from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import AWKWARD, VALIDATION, Golden, read_golden
from runtime.parity.document import parity_document, read_gates
from runtime.parity.judge import judge, worst
from runtime.parity.table import explanations, rows


@pytest.fixture
def golden(bundle_folder: Path) -> Golden:
    return read_golden(bundle_folder / GOLDEN)


def _only(bundle: Bundle, path: str) -> Bundle:
    chosen = tuple(a for a in bundle.manifest.artifacts if a.path == path)
    return Bundle(bundle.path, replace(bundle.manifest, artifacts=chosen))


def test_it_finds_what_the_export_found(bundle: Bundle, golden: Golden) -> None:
    """The stored report again, to the last digit: same machine, same runtime, one thread."""
    import json

    report = judge(bundle, golden, read_gates(bundle.path / PARITY))
    stored = json.loads((bundle.path / PARITY).read_bytes())
    again = json.loads(json.dumps(parity_document(report)))
    assert again == stored
    for artifact in report.artifacts:
        assert (artifact.logits == golden.artifacts[artifact.path]).all()


@pytest.mark.parametrize("kind", [VALIDATION, AWKWARD])
def test_a_flip_counts_where_it_belongs(bundle: Bundle, golden: Golden, kind: str) -> None:
    """Move one reference row across its boundary by a hair."""
    reference = golden.reference.copy()
    row = int(golden.rows(kind)[0])
    first, second = np.argsort(reference[row])[::-1][:2]
    reference[row, second] = reference[row, first] + np.float32(1e-4)
    changed = replace(golden, reference=reference)
    report = judge(_only(bundle, "model.onnx"), changed, read_gates(bundle.path / PARITY))
    figures = report.artifacts[0].figures
    assert figures["flips"] == (kind == VALIDATION)
    assert figures["awkward_flips"] == (kind == AWKWARD)


def test_progress_is_told(bundle: Bundle, golden: Golden) -> None:
    seen: list[tuple[str, int, int]] = []
    judge(
        _only(bundle, "model.onnx"),
        golden,
        read_gates(bundle.path / PARITY),
        progress=lambda *step: seen.append(step),
    )
    assert seen[-1] == ("model.onnx", len(golden.cases), len(golden.cases))


def test_the_table_has_a_row_for_each_and_the_reasons(bundle: Bundle, golden: Golden) -> None:
    report = judge(bundle, golden, read_gates(bundle.path / PARITY))
    assert [row[0] for row in rows(report)] == [a.path for a in bundle.manifest.artifacts]
    assert explanations(report) == []
    doubled = replace(golden, reference=golden.reference * 2)
    failed = judge(bundle, doubled, read_gates(bundle.path / PARITY))
    assert any("max_rel" in line and "above the limit" in line for line in explanations(failed))


def test_verdicts_and_names() -> None:
    assert worst(["pass", "unknown", "fail"]) == "fail"
    assert worst(["pass", "unknown"]) == "unknown"
    assert worst(["pass"]) == "pass"
    assert worst([]) == "unknown"
