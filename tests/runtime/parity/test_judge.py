from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import AWKWARD, VALIDATION, Golden, read_golden
from runtime.parity.document import parity_document, read_gates
from runtime.parity.evidence import Evidence, this_machine
from runtime.parity.judge import judge, judge_evidence, worst
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
    assert figures["other_flips"] == (kind == AWKWARD) + figures["boundary_flips"]


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


def test_text_to_label_is_judged_end_to_end(bundle: Bundle, golden: Golden) -> None:
    """A text whose ids are another text's: the logits agree, and the app would be wrong."""
    one = _only(bundle, "model.onnx")
    sunny, snowy = (
        next(
            row
            for row, case in enumerate(golden.cases)
            if case.targets == (bundle.manifest.task.labels.index(label),)
        )
        for label in ("sunny", "snowy")
    )
    cases = list(golden.cases)
    for row in range(len(cases)):
        if cases[row].targets == cases[sunny].targets:
            cases[row] = replace(cases[row], text=cases[snowy].text)
    report = judge(one, replace(golden, cases=tuple(cases)), read_gates(bundle.path / PARITY))
    assert report.verdict == "fail"
    wrong = report.artifacts[0].evidence.wrong_labels
    assert wrong
    assert all(name.startswith(VALIDATION) for name in wrong)
    assert any("labels that do not follow" in line for line in explanations(report))


@pytest.mark.parametrize("name", ["labels.txt", "vocab.txt"])
@pytest.mark.parametrize("fault", ["swapped", "missing"])
def test_files_that_an_app_reads_must_not_contradict_the_manifest(
    bundle: Bundle, golden: Golden, tmp_path: Path, name: str, fault: str
) -> None:
    copy = Bundle(Path(shutil.copytree(bundle.path, tmp_path / "copy")), bundle.manifest)
    evidence = Evidence(
        artifact="model.onnx",
        sha256=bundle.artifact("model.onnx").sha256,
        machine=this_machine(),
        environment={},
        rows=tuple(range(len(golden.cases))),
        logits=golden.artifacts["model.onnx"],
    )
    gates = read_gates(bundle.path / PARITY)
    assert judge_evidence(copy, golden, gates, [evidence]).verdict == "pass"
    path = copy.path / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if fault == "missing":
        path.unlink()
    else:
        path.write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    report = judge_evidence(copy, golden, gates, [evidence])
    assert report.verdict == "fail"
    (line,) = report.contradictions
    assert name in line
    assert line in explanations(report)
