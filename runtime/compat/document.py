"""compat.json: every run and its outcome, as data."""

from __future__ import annotations

from typing import Any

from runtime.compat.judge import Ran
from runtime.compat.run import CompatReport
from runtime.files import json_number
from runtime.parity.evidence import this_machine

COMPAT_SCHEMA = 1
# Of all that the gate measures: enough to see how right a right one is.
_FIGURES = ("non_finite", "max_rel", "cosine", "sqnr_db", "flip_rate", "large_margin_flips")


def compat_document(report: CompatReport) -> dict[str, Any]:
    """Plain JSON values; infinity and NaN become the strings inf and nan."""
    manifest = report.bundle.manifest
    return {
        "schema_version": COMPAT_SCHEMA,
        "bundle": manifest.name,
        "source": {"family": manifest.source.family, "parameters": manifest.source.parameters},
        "machine": this_machine().to_json(),
        "failed": report.failed,
        "contradictions": list(report.contradictions),
        "skipped": report.skipped,
        "runs": [_run(ran) for ran in report.runs],
    }


def _run(ran: Ran) -> dict[str, Any]:
    return {
        "artifact": ran.artifact,
        "package": ran.runtime.package,
        "version": ran.runtime.version,
        "python": ran.python,
        "delegate": "none" if ran.plain else "default",
        "outcome": ran.outcome,
        "why": ran.why,
        "cases": ran.cases,
        "figures": {n: json_number(ran.figures[n]) for n in _FIGURES if n in ran.figures},
        "from_own": None if ran.from_own is None else json_number(ran.from_own),
    }
