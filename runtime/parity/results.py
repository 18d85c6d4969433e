"""RESULTS.json: what an artifact gave on any device, for the judge. README.md here documents it.

An instrumented test on Android, a phone, a browser or an emulated processor runs the bundle's
golden cases and writes this file; `parity replay` judges it as if the artifact had run here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle import Bundle
from runtime.decisions import decisions
from runtime.errors import BundleError, UserError
from runtime.files import json_number
from runtime.golden import Golden, shortest
from runtime.parity.evidence import Evidence, Logits, Machine, cases_per_length
from runtime.parity.gates import REQUIRED_IF_KNOWN
from runtime.processor import architecture_of

RESULTS_SCHEMA = 1

# Reported beside the gated ones.
_MEASURED = (*REQUIRED_IF_KNOWN, "compression_max_abs", "precision_max_abs")
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def results_document(evidence: Sequence[Evidence], golden: Golden) -> dict[str, Any]:
    """Plain JSON values; logits that are not finite become the strings nan, inf and -inf."""
    return {
        "schema_version": RESULTS_SCHEMA,
        "artifacts": [_entry(found, golden) for found in evidence],
    }


def _entry(found: Evidence, golden: Golden) -> dict[str, Any]:
    return {
        "path": found.artifact,
        "sha256": found.sha256,
        "machine": found.machine.to_json(),
        "environment": found.environment,
        "measured": {name: json_number(value) for name, value in found.measured.items()},
        "cases": [
            {"name": golden.cases[row].name, "logits": [json_number(v) for v in shortest(logits)]}
            for row, logits in zip(found.rows, found.logits, strict=True)
        ],
    }


def read_results(path: Path, bundle: Bundle, golden: Golden) -> tuple[Evidence, ...]:
    """Read what a device wrote.

    Args:
        path: the file.
        bundle: which the device ran.
        golden: its cases.

    Raises:
        BundleError: the file is missing, not JSON or not of this schema.
        UserError: it tells of another bundle: an artifact, hash, case or label that is not there.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != RESULTS_SCHEMA:
            raise BundleError(
                f"{path} has the schema version {value['schema_version']!r}",
                why=f"this release reads {RESULTS_SCHEMA}",
            )
        if not value["artifacts"]:
            raise UserError(f"{path} has no artifacts")
        return tuple(_read_entry(path, entry, bundle, golden) for entry in value["artifacts"])
    except OSError as error:
        raise BundleError(f"{path} cannot be read", why=str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path} is not a results file",
            why=repr(error),
            todo="runtime/parity/README.md documents the format, under Devices",
        ) from error


def _read_entry(path: Path, entry: dict[str, Any], bundle: Bundle, golden: Golden) -> Evidence:
    artifact = bundle.artifact(entry["path"])
    if entry["sha256"] != artifact.sha256:
        raise UserError(
            f"{path} tells of another {artifact.path}",
            why=f"its SHA-256 is {str(entry['sha256'])[:16]}…, the bundle's "
            f"{artifact.sha256[:16]}…",
            todo="run this bundle on the device, or name the one that ran",
        )
    known = {case.name: row for row, case in enumerate(golden.cases)}
    found: dict[int, dict[str, Any]] = {}
    for case in entry["cases"]:
        row = known.get(case["name"])
        if row is None or row in found:
            problem = "no golden case" if row is None else "twice the case"
            raise UserError(f"{path} has {problem} called {case['name']!r}")
        found[row] = case
    if not found:
        raise UserError(f"{path} has no cases for {artifact.path}")
    rows = tuple(sorted(found))
    logits = _logits(path, [found[row]["logits"] for row in rows], golden.reference.shape[1])
    machine = entry["machine"]
    return Evidence(
        artifact=artifact.path,
        sha256=artifact.sha256,
        machine=Machine(
            architecture=architecture_of(str(machine["architecture"])),
            processor=str(machine.get("processor", "")),
            features=tuple(str(name) for name in machine.get("features", ())),
            emulator=str(machine.get("emulator", "")),
        ),
        environment={str(k): str(v) for k, v in entry["environment"].items()},
        rows=rows,
        logits=logits,
        measured=_measured(path, entry.get("measured", {})),
        lengths=cases_per_length(artifact, golden, rows),
        wrong_ids=tuple(
            golden.cases[row].name
            for row in rows
            if "input_ids" in found[row]
            and tuple(found[row]["input_ids"]) != golden.cases[row].input_ids
        ),
        wrong_labels=_wrong_labels(bundle, golden, rows, logits, found),
    )


def _logits(path: Path, rows: list[list[float | str]], labels: int) -> Logits:
    if any(len(row) != labels for row in rows):
        raise UserError(f"{path} has cases without {labels} logits, one for each label")
    numbers = [[_WORDS[v] if isinstance(v, str) else float(v) for v in row] for row in rows]
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and fails as that
        return np.array(numbers, dtype=np.float64).astype(np.float32)


def _measured(path: Path, values: dict[str, Any]) -> dict[str, float]:
    unknown = [name for name in values if name not in _MEASURED]
    if unknown:
        raise UserError(
            f"{path} has the figure {unknown[0]!r}", why=f"known are {', '.join(_MEASURED)}"
        )
    return {
        name: _WORDS[value] if isinstance(value, str) else float(value)
        for name, value in values.items()
    }


def _wrong_labels(
    bundle: Bundle,
    golden: Golden,
    rows: tuple[int, ...],
    logits: Logits,
    found: dict[int, dict[str, Any]],
) -> tuple[str, ...]:
    """Logits → labels is a layer of its own: the device's labels must be its logits' labels."""
    if bundle.manifest.task.gives_vectors:
        return ()
    names = np.array(bundle.manifest.task.labels)
    chosen = decisions(logits, bundle.manifest.task)
    return tuple(
        golden.cases[row].name
        for row, marks in zip(rows, chosen, strict=True)
        if "labels" in found[row] and sorted(found[row]["labels"]) != sorted(names[marks].tolist())
    )
