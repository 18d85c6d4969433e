from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.decisions import decisions
from runtime.errors import UserError
from runtime.files import canonical_json
from runtime.golden import Golden, read_golden
from runtime.parity.document import read_gates
from runtime.parity.evidence import Evidence, Machine, this_machine
from runtime.parity.judge import ParityReport, judge_evidence
from runtime.parity.results import read_results, results_document

PATH = "model_int8.tflite"


@pytest.fixture(scope="module")
def golden(bundle_folder: Path) -> Golden:
    return read_golden(bundle_folder / GOLDEN)


def _evidence(bundle: Bundle, golden: Golden, **values: Any) -> Evidence:
    """What a phone that computes like this machine would send: logits and nothing else."""
    given = Evidence(
        artifact=PATH,
        sha256=bundle.artifact(PATH).sha256,
        machine=replace(this_machine(), processor="a phone"),
        environment={"runtime": "LiteRT", "version": "2.3.0"},
        rows=tuple(range(len(golden.cases))),
        logits=golden.artifacts[PATH],
    )
    return replace(given, **values)


def _written(tmp_path: Path, document: dict[str, Any]) -> Path:
    path = tmp_path / "results.json"
    path.write_text(canonical_json(document))
    return path


def _replayed(bundle: Bundle, golden: Golden, path: Path) -> ParityReport:
    gates = read_gates(bundle.path / PARITY)
    return judge_evidence(bundle, golden, gates, read_results(path, bundle, golden))


def test_what_is_written_is_read_back(bundle: Bundle, golden: Golden, tmp_path: Path) -> None:
    logits = golden.artifacts[PATH][[0, 2]].copy()
    logits[0] = (np.nan, np.inf, -np.inf)
    given = _evidence(
        bundle,
        golden,
        rows=(0, 2),
        logits=logits,
        machine=Machine("arm64", "cortex-a53", ("asimd",), "qemu-aarch64 10.0"),
        measured={"batch_rel": 0.25, "repeat_rel": float("nan")},
    )
    (found,) = read_results(_written(tmp_path, results_document([given], golden)), bundle, golden)
    assert np.array_equal(found.logits, logits, equal_nan=True)
    assert (found.rows, found.machine) == (given.rows, given.machine)
    assert found.measured["batch_rel"] == 0.25
    assert np.isnan(found.measured["repeat_rel"])
    assert sum(found.lengths.values()) == 2


def test_the_same_logits_from_a_phone_pass(bundle: Bundle, golden: Golden, tmp_path: Path) -> None:
    document = results_document([_evidence(bundle, golden)], golden)
    report = _replayed(bundle, golden, _written(tmp_path, document))
    assert report.verdict == "pass"
    assert {"batch_rel", "repeat_rel"} <= set(report.artifacts[0].not_measured)


def test_a_phone_that_answers_wrongly_fails(bundle: Bundle, golden: Golden, tmp_path: Path) -> None:
    swapped = _evidence(bundle, golden, logits=np.roll(golden.artifacts[PATH], 1, axis=1))
    document = results_document([swapped], golden)
    assert _replayed(bundle, golden, _written(tmp_path, document)).verdict == "fail"


def test_one_case_is_too_few(bundle: Bundle, golden: Golden, tmp_path: Path) -> None:
    one = _evidence(bundle, golden, rows=(0,), logits=golden.artifacts[PATH][:1])
    report = _replayed(bundle, golden, _written(tmp_path, results_document([one], golden)))
    assert report.verdict == "unknown"
    open_ = [check for check in report.artifacts[0].checks if check.verdict == "unknown"]
    assert "0 of 1 texts flip" in open_[0].note


@pytest.mark.parametrize("layer", ["input_ids", "labels"])
def test_the_layers_before_and_after_the_logits_are_judged_too(
    bundle: Bundle, golden: Golden, tmp_path: Path, layer: str
) -> None:
    document = results_document([_evidence(bundle, golden)], golden)
    names = np.array(bundle.manifest.task.labels)
    chosen = decisions(golden.artifacts[PATH], bundle.manifest.task)
    for case, golden_case, marks in zip(
        document["artifacts"][0]["cases"], golden.cases, chosen, strict=True
    ):
        case["input_ids"] = list(golden_case.input_ids)
        case["labels"] = names[marks].tolist()
    assert _replayed(bundle, golden, _written(tmp_path, document)).verdict == "pass"
    wrong = document["artifacts"][0]["cases"][3]
    wrong[layer] = [*wrong[layer], 7 if layer == "input_ids" else "no such label"]
    report = _replayed(bundle, golden, _written(tmp_path, document))
    assert report.verdict == "fail"
    found = report.artifacts[0].evidence
    names_of = found.wrong_ids if layer == "input_ids" else found.wrong_labels
    assert names_of == (golden.cases[3].name,)


def _first(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda document: change(document["artifacts"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=99), "schema version 99"),
        (lambda d: d.update(artifacts=[]), "no artifacts"),
        (lambda d: d.update(artifacts=3), "not a results file"),
        (_first(lambda a: a.update(sha256="0" * 64)), "another model_int8.tflite"),
        (_first(lambda a: a.update(path="other.tflite")), "no artifact is called"),
        (_first(lambda a: a.pop("machine")), "not a results file"),
        (_first(lambda a: a.update(cases=[])), "no cases"),
        (_first(lambda a: a["cases"].append(a["cases"][0])), "twice the case"),
        (_first(lambda a: a["cases"][0].update(name="validation/99999")), "no golden case"),
        (_first(lambda a: a["cases"][0].update(logits=[1.0])), "one for each label"),
        (_first(lambda a: a["cases"][0].update(logits=["a", "b", "c"])), "not a results file"),
        (_first(lambda a: a.update(measured={"max_abs": 0.0})), "the figure 'max_abs'"),
    ],
)
def test_a_file_that_does_not_belong_is_refused(
    bundle: Bundle, golden: Golden, tmp_path: Path, change: Any, message: str
) -> None:
    document = json.loads(json.dumps(results_document([_evidence(bundle, golden)], golden)))
    change(document)
    with pytest.raises(UserError, match=message):
        read_results(_written(tmp_path, document), bundle, golden)


@pytest.mark.parametrize("text", ["", "[1, 2", "[]", '"x"', "[" * 100_000])
def test_what_is_no_json_object_is_refused(
    bundle: Bundle, golden: Golden, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a results file"):
        read_results(path, bundle, golden)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "absent.json", bundle, golden)


def test_an_architecture_nobody_measured_is_unknown(
    bundle: Bundle, golden: Golden, tmp_path: Path
) -> None:
    other = _evidence(bundle, golden, machine=Machine("riscv64"))
    report = _replayed(bundle, golden, _written(tmp_path, results_document([other], golden)))
    assert report.verdict == "unknown"
    assert report.artifacts[0].doubts == ("the recipe has no limits for riscv64",)
