from __future__ import annotations

from dataclasses import replace
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pytest

from runtime.manifest import Verdict
from runtime.parity.judge import ParityReport
from runtime.parity.report import junit_xml

from .conftest import A53, World

# What Jenkins' junit-10.xsd allows, element by element.
ALLOWED = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        {"properties", "testcase"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped"}),
    **dict.fromkeys(("failure", "error", "skipped"), ({"message", "type"}, set())),
}


def _tree(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text.encode("utf-8"))
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.keys()) <= attributes
        assert {child.tag for child in element} <= children
    for suite in (root, *root.iter("testsuite")):
        cases = list(suite.iter("testcase"))
        assert suite.get("tests") == str(len(cases))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            if suite.get(key) is not None:
                assert suite.get(key) == str(len(list(suite.iter(tag))))
    return root


def _outcomes(suite: ElementTree.Element) -> dict[str, str]:
    return {
        case.get("name") or "": next((child.tag for child in case), "pass")
        for case in suite.iter("testcase")
    }


def test_each_check_is_a_test(mixed: ParityReport) -> None:
    root = _tree(junit_xml(mixed))
    for suite, found in zip(root, mixed.artifacts, strict=True):
        outcomes = _outcomes(suite)
        for check in found.checks:
            expected = {"pass": "pass", "fail": "failure", "unknown": "error"}[check.verdict]
            assert outcomes[check.figure] == expected
        assert len(outcomes) == len(found.checks) + 5
    bad = next(f for f in root.iter("failure") if "cosine" in (f.get("message") or ""))
    check = next(c for c in mixed.artifacts[1].checks if c.figure == "cosine")
    assert repr(check.value) in (bad.text or "")
    assert repr(check.limit) in (bad.text or "")
    assert "next: " in (bad.text or "")


def test_tests_have_names_of_their_own(world: World) -> None:
    report = world.report(world.evidence(), world.evidence(machine=A53))
    cases = [(c.get("classname"), c.get("name")) for c in _tree(junit_xml(report)).iter("testcase")]
    assert len(cases) == len(set(cases))


def test_too_few_texts_are_an_error(world: World) -> None:
    report = world.report(world.evidence(), limits={"flip_rate_bound": 0.001})
    root = _tree(junit_xml(report))
    assert _outcomes(root)["flip_rate_bound"] == "error"
    assert "too small to tell: more texts" in (next(root.iter("error")).get("message") or "")


def test_a_doubt_is_an_error(world: World) -> None:
    report = world.report(world.evidence(), doubts=("the reference guesses",))
    assert _outcomes(_tree(junit_xml(report)))["enough is known"] == "error"


def test_faults_outside_the_model_fail(world: World) -> None:
    found = world.evidence(wrong_ids=("validation/1",), wrong_labels=("validation/2",))
    outcomes = _outcomes(_tree(junit_xml(world.report(found))))
    assert outcomes["text to ids"] == outcomes["logits to labels"] == "failure"
    assert outcomes["files agree"] == "pass"
    report = world.report(world.evidence(), contradictions=("labels.txt is missing",))
    assert _outcomes(_tree(junit_xml(report)))["files agree"] == "failure"


def test_what_was_not_measured_is_skipped(world: World) -> None:
    found = world.evidence(measured={"padding_rel": 0.0})
    outcomes = _outcomes(_tree(junit_xml(world.report(found))))
    assert outcomes["repeat_rel (not measured)"] == "skipped"


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_only_a_pass_is_green(world: World, verdict: Verdict) -> None:
    """Whatever the reason was, even one that this report does not know."""
    report = world.report(world.evidence())
    forced = replace(report, artifacts=(replace(report.artifacts[0], verdict=verdict),))
    root = _tree(junit_xml(forced))
    green = root.get("failures") == root.get("errors") == "0"
    assert green == (verdict == "pass")


def test_no_artifact_is_not_green(world: World) -> None:
    assert _tree(junit_xml(world.report())).get("errors") == "1"


def test_hostile_texts_stay_texts(hostile: tuple[World, ParityReport]) -> None:
    text = junit_xml(hostile[1])
    root = _tree(text)
    assert text == junit_xml(hostile[1])
    values = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert values["environment.<key>"] == "value ]]>\\u0002"
    assert "awkward/\\udfff" in "".join(e.get("message") or "" for e in root.iter("failure"))


def test_figures_are_exact(world: World) -> None:
    broken = world.golden.reference.copy()
    broken[0, 0] = np.nan
    report = world.report(world.evidence(logits=broken))
    root = _tree(junit_xml(report))
    values = {p.get("name"): p.get("value") or "" for p in root.iter("property")}
    for name, value in report.artifacts[0].figures.items():
        assert values[f"figure.{name}"] == repr(value)
