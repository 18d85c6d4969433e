"""parity.json: the verdict and every figure behind it, as data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from runtime.errors import BundleError
from runtime.parity.gates import FIGURES
from runtime.parity.judge import ArtifactReport, GateSpec, ParityReport
from runtime.processor import architecture

PARITY_SCHEMA = 1

SCOPE = (
    "Judged on the machine and runtime named under environment; no phone took part.",
    "int8 arithmetic differs between processors: one architecture does not certify another.",
)


def parity_document(report: ParityReport) -> dict[str, Any]:
    """Plain JSON values. Infinity becomes the string "inf", NaN the string "nan"."""
    return {
        "schema_version": PARITY_SCHEMA,
        "verdict": report.verdict,
        "reference": {
            "metric": report.metric,
            "value": _number(report.reference_metric),
            "doubts": list(report.reference_doubts),
        },
        "cases": {"validation": report.validation_cases, "awkward": report.awkward_cases},
        "processor": {"architecture": architecture(), "features": list(report.processor)},
        "wrong_ids": list(report.wrong_ids),
        "artifacts": [_artifact(artifact) for artifact in report.artifacts],
        "scope": list(SCOPE),
    }


def _artifact(report: ArtifactReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "recipe": report.recipe,
        "verdict": report.verdict,
        "checks": [
            {
                "figure": check.figure,
                "value": _number(check.value),
                "limit": check.limit,
                "bound": check.bound,
                "unit": FIGURES[check.figure].unit if check.figure in FIGURES else "",
                "passed": check.passed,
            }
            for check in report.checks
        ],
        "figures": {name: _number(value) for name, value in report.figures.items()},
        "doubts": list(report.doubts),
        "cases_per_length": {str(length): count for length, count in report.lengths.items()},
        "environment": report.environment,
        "gate": {
            architecture: {
                name: {"limit": limit, "observed": report.gate.observed[architecture][name]}
                for name, limit in limits.items()
            }
            for architecture, limits in report.gate.limits.items()
        },
    }


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def read_gates(path: Path) -> dict[str, GateSpec]:
    """The limits that a bundle's parity.json carries: artifact path → limits.

    Raises:
        BundleError: missing, not JSON, or not a parity document.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != PARITY_SCHEMA:
            raise BundleError(f"{path} has the schema version {value['schema_version']!r}")
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
