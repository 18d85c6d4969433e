"""The verdict as JUnit XML, so that a CI system shows each check as a test.

There is no one schema; this keeps to what Jenkins' ``junit-10.xsd`` allows, which GitLab's and
GitHub's reporters read too. A check that fails is a ``failure``. One that is unknown is an
``error`` and not ``skipped``, since skipped tests leave a pipeline green. A figure that the machine
could not give, although a pass does not need it there, is ``skipped``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from runtime.manifest import Verdict
from runtime.parity.judge import ArtifactReport, ParityReport
from runtime.parity.report.formats import meaning, unit, used, used_words, written
from runtime.parity.report.markup import plain
from runtime.parity.report.words import advice, complaint, headline, layer_faults, reasons

Outcome = Literal["pass", "failure", "error", "skipped"]
_OUTCOMES: dict[Verdict, Outcome] = {"pass": "pass", "fail": "failure", "unknown": "error"}


@dataclass(frozen=True, slots=True)
class _Case:
    """One test: its name, how it went, why, and what to do."""

    name: str
    outcome: Outcome
    message: str = ""
    detail: str = ""


def junit_xml(report: ParityReport) -> str:
    """A report as JUnit XML.

    One suite for each artifact on each machine. Its tests are every check, ``files agree``,
    ``text to ids``, ``logits to labels``, ``enough is known`` (doubts), and the ``verdict``, which
    is never green when the artifact's is not. A report without artifacts has one suite with one
    error.

    Returns:
        The document, which can be written as UTF-8; characters that XML forbids are escapes.
    """
    suites = [(_suite_name(found), found, _cases(found, report)) for found in report.artifacts]
    root = ElementTree.Element("testsuites", name="parity")
    counts = {"tests": 0, "failures": 0, "errors": 0}
    for name, found, cases in suites:
        _add(root, name, cases, counts, _properties(found, report))
    if not suites:
        _add(root, "parity", [_Case("verdict", "error", headline(report))], counts, {})
    for key, value in counts.items():
        root.set(key, str(value))
    root.set("time", "0")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _suite_name(found: ArtifactReport) -> str:
    return f"{found.path} on {found.evidence.machine.name}"


def _cases(found: ArtifactReport, report: ParityReport) -> list[_Case]:
    cases = [_check_case(found, index) for index in range(len(found.checks))]
    cases += [
        _Case(f"{name} (not measured)", "skipped", f"{name} was not measured on this machine")
        for name in found.not_measured
    ]
    faults = layer_faults(found, report)
    for name, start in (
        ("files agree", "Files"),
        ("text to ids", "Other ids"),
        ("logits to labels", "Labels"),
    ):
        line = next((fault for fault in faults if fault.startswith(start)), "")
        cases.append(_Case(name, "failure" if line else "pass", line))
    doubts = [*report.reference_doubts, *found.doubts]
    cases.append(
        _Case(
            "enough is known", "error" if doubts else "pass", "; ".join(doubts), "\n".join(doubts)
        )
    )
    why = reasons(found, report)
    cases.append(
        _Case("verdict", _OUTCOMES[found.verdict], f"{found.path}: {found.verdict}", "\n".join(why))
    )
    return cases


def _check_case(found: ArtifactReport, index: int) -> _Case:
    check = found.checks[index]
    outcome = _OUTCOMES[check.verdict]
    if outcome == "pass":
        return _Case(check.figure, outcome)
    detail = [
        f"what: {meaning(check.figure)}",
        f"value: {check.value!r} {unit(check.figure)}".rstrip(),
        f"limit: {check.limit!r} {unit(check.figure)}".rstrip()
        + (" at most" if check.bound == "max" else " at least"),
        f"of the limit: {used_words(used(check))}",
        f"next: {advice(check)}",
    ]
    if check.note:
        detail.append(f"note: {check.note}")
    return _Case(check.figure, outcome, complaint(check), "\n".join(detail))


def _properties(found: ArtifactReport, report: ParityReport) -> dict[str, str]:
    """Where it ran and every figure, for whoever digs in the archive of a pipeline."""
    machine = found.evidence.machine
    return {
        "artifact": found.path,
        "sha256": found.evidence.sha256,
        "recipe": found.recipe,
        "verdict": found.verdict,
        "reference." + report.metric: repr(report.reference_metric),
        "machine.architecture": machine.architecture,
        "machine.processor": machine.processor,
        "machine.features": " ".join(machine.features),
        "machine.emulator": machine.emulator,
        **{f"environment.{key}": value for key, value in found.environment.items()},
        **{f"figure.{name}": repr(value) for name, value in found.figures.items()},
        **{f"limit.{check.figure}": repr(check.limit) for check in found.checks},
        **{f"shown.{c.figure}": written(c.figure, c.value) for c in found.checks},
    }


def _add(
    root: ElementTree.Element,
    name: str,
    cases: list[_Case],
    counts: dict[str, int],
    properties: dict[str, str],
) -> None:
    own = {
        "tests": len(cases),
        "failures": sum(case.outcome == "failure" for case in cases),
        "errors": sum(case.outcome == "error" for case in cases),
    }
    skipped = sum(case.outcome == "skipped" for case in cases)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": plain(name),
            **{k: str(v) for k, v in own.items()},
            "skipped": str(skipped),
            "time": "0",
        },
    )
    for key, count in own.items():
        counts[key] += count
    if properties:
        table = ElementTree.SubElement(suite, "properties")
        for key, value in properties.items():
            ElementTree.SubElement(table, "property", name=plain(key), value=plain(value))
    for case in cases:
        test = ElementTree.SubElement(
            suite, "testcase", name=plain(case.name), classname=plain(name), time="0"
        )
        if case.outcome != "pass":
            note = ElementTree.SubElement(
                test, case.outcome, message=plain(case.message), type=case.outcome
            )
            note.text = plain(case.detail)
