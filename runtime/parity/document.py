"""parity.json: the verdict and every figure behind it, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.errors import BundleError
from runtime.files import json_number
from runtime.parity.gates import FIGURES
from runtime.parity.judge import ArtifactReport, GateSpec, ParityReport

PARITY_SCHEMA = 2

_INT8 = "int8 arithmetic differs between processors: one architecture does not certify another."


def parity_document(report: ParityReport) -> dict[str, Any]:
    """Plain JSON values. Infinity becomes the string "inf", NaN the string "nan"."""
    return {
        "schema_version": PARITY_SCHEMA,
        "verdict": report.verdict,
        "reference": {
            "metric": report.metric,
            "value": json_number(report.reference_metric),
            "doubts": list(report.reference_doubts),
        },
        "cases": report.cases,
        "wrong_ids": list(report.wrong_ids),
        "contradictions": list(report.contradictions),
        "artifacts": [_artifact(artifact) for artifact in report.artifacts],
        "scope": list(scope(report)),
    }


def scope(report: ParityReport) -> tuple[str, ...]:
    """What the verdict covers and what it leaves open, as sentences."""
    machines = dict.fromkeys(artifact.evidence.machine for artifact in report.artifacts)
    where = ", ".join(
        machine.name + (f" ({', '.join(machine.features)})" if machine.features else "")
        for machine in machines
    )
    lines = [f"Judged on {where}; it says nothing of other processors and runtimes.", _INT8]
    if any(machine.emulator for machine in machines):
        names = ", ".join(dict.fromkeys(m.emulator for m in machines if m.emulator))
        lines.append(f"Emulated by {names}: the same instructions, but no real device.")
    for artifact in report.artifacts:
        if artifact.not_measured:
            lines.append(
                f"{artifact.path} on {artifact.evidence.machine.name}: not measured there: "
                f"{', '.join(artifact.not_measured)}."
            )
        lines += [e for e in (artifact.environment.get("leaves_open"),) if e]
    return tuple(dict.fromkeys(lines))


def _artifact(report: ArtifactReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "recipe": report.recipe,
        "sha256": report.evidence.sha256,
        "verdict": report.verdict,
        "machine": report.evidence.machine.to_json(),
        "environment": report.environment,
        "cases": len(report.evidence.rows),
        "cases_per_length": {str(length): count for length, count in report.lengths.items()},
        "checks": [
            {
                "figure": check.figure,
                "value": json_number(check.value),
                "limit": check.limit,
                "bound": check.bound,
                "unit": FIGURES[check.figure].unit if check.figure in FIGURES else "",
                "verdict": check.verdict,
                "note": check.note,
            }
            for check in report.checks
        ],
        "figures": {name: json_number(value) for name, value in report.figures.items()},
        "flips": [
            {"label": entry.label, "flips": entry.flips, "texts": entry.texts, "bound": entry.bound}
            for entry in report.per_label
        ],
        "doubts": list(report.doubts),
        "not_measured": list(report.not_measured),
        "wrong_ids": list(report.evidence.wrong_ids),
        "wrong_labels": list(report.evidence.wrong_labels),
        "gate": {
            architecture: {
                name: {"limit": limit, "observed": report.gate.observed[architecture][name]}
                for name, limit in limits.items()
            }
            for architecture, limits in report.gate.limits.items()
        },
    }


def read_gates(path: Path) -> dict[str, GateSpec]:
    """The limits that a bundle's parity.json carries: artifact path → limits.

    Raises:
        BundleError: missing, not JSON, or not a parity document.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != PARITY_SCHEMA:
            raise BundleError(
                f"{path} has the schema version {value['schema_version']!r}",
                why=f"this release reads {PARITY_SCHEMA}, whose gates are on bounds",
                todo="export the bundle again",
            )
        return {
            artifact["path"]: GateSpec(
                limits=_column(artifact["gate"], "limit"),
                observed=_column(artifact["gate"], "observed"),
            )
            for artifact in value["artifacts"]
        }
    except OSError as error:
        raise BundleError(f"{path} cannot be read", why=str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path} is not a parity document", why=repr(error)) from error


def _column(gate: dict[str, Any], column: str) -> dict[str, dict[str, float]]:
    return {
        architecture: {name: float(entry[column]) for name, entry in limits.items()}
        for architecture, limits in gate.items()
    }
