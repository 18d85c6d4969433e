"""golden.json: the texts, ids and logits that every device replays.

The file holds the whole reference set: the validation texts with their true labels, further
natural texts, texts at which the reference is nearly undecided and the fixed awkward texts. Each
has the ids the tokenizer must give, PyTorch's float32 logits and those of every artifact.

Readers skip keys that they do not know, so that a later key does no harm; what they do know they
read strictly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import BundleError
from runtime.files import canonical_json

GOLDEN_SCHEMA = 1
# The sets of cases.
VALIDATION = "validation"  # has true labels
UNLABELLED = "unlabelled"  # further natural texts
BOUNDARY = "boundary"  # generated where the reference is nearly undecided
AWKWARD = "awkward"  # our own corpus and the edges of lengths
SETS = (VALIDATION, UNLABELLED, BOUNDARY, AWKWARD)
# A sample of what users write; the others are made.
NATURAL = (VALIDATION, UNLABELLED)


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One text.

    Attributes:
        name: unique, such as ``validation/17`` or ``awkward/empty``.
        set: one of `SETS`.
        text: may hold any code point, lone surrogates too.
        input_ids: not padded.
        attention_mask: all ones, as long as `input_ids`.
        targets: indices of the true labels; None in every set but ``validation``.
    """

    name: str
    set: str
    text: str
    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...]
    targets: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class EffectiveLogits:
    """PyTorch's logits with an artifact's own weights, for some of the cases.

    They tell coarse weights (these against the reference) from a wrong graph (the artifact in
    float32 against these).

    Attributes:
        rows: indices of the cases, ascending.
        logits: float32 [rows, labels].
    """

    rows: tuple[int, ...]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Golden:
    """All cases and their logits.

    Attributes:
        cases: in a fixed order.
        reference: PyTorch's float32 logits, [cases, labels].
        artifacts: artifact path → its own float32 logits, [cases, labels].
        effective: artifact path → PyTorch's logits with the artifact's weights.
        awkward_version: of the corpus behind the awkward texts; None in files older than it.
    """

    cases: tuple[GoldenCase, ...]
    reference: npt.NDArray[np.float32]
    artifacts: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    effective: dict[str, EffectiveLogits] = field(default_factory=dict)
    awkward_version: int | None = None

    def rows(self, name: str) -> npt.NDArray[np.int64]:
        """Indices of the cases of one set, ascending, int64; none in a file without that set."""
        return np.array(
            [i for i, case in enumerate(self.cases) if case.set == name], dtype=np.int64
        )

    def dump(self) -> str:
        """JSON, one case a line, escaped ASCII; float32 values survive the round trip exactly."""
        lines = []
        places = {
            path: {row: i for i, row in enumerate(effective.rows)}
            for path, effective in self.effective.items()
        }
        for row, case in enumerate(self.cases):
            value: dict[str, Any] = {
                "name": case.name,
                "set": case.set,
                "text": case.text,
                "input_ids": list(case.input_ids),
                "attention_mask": list(case.attention_mask),
                "reference_logits": shortest(self.reference[row]),
                "artifact_logits": {
                    path: shortest(logits[row]) for path, logits in self.artifacts.items()
                },
            }
            effective = {
                path: shortest(self.effective[path].logits[place[row]])
                for path, place in places.items()
                if row in place
            }
            if effective:
                value["effective_logits"] = effective
            if case.targets is not None:
                value["targets"] = list(case.targets)
            lines.append(canonical_json(value, indent=None).rstrip("\n"))
        body = ",\n".join(lines)
        head = f'"schema_version":{GOLDEN_SCHEMA}'
        if self.awkward_version is not None:
            head += f',"awkward_version":{self.awkward_version}'
        return f'{{{head},"cases":[\n{body}\n]}}\n'


def shortest(row: npt.NDArray[np.float32]) -> list[float]:
    """float32 [labels] → numbers whose decimal text is the shortest that reads back the same."""
    return [float(str(value)) for value in row]


def read_golden(path: Path) -> Golden:
    """Read golden.json.

    Raises:
        BundleError: missing, not JSON, another schema version, or cases that contradict each other.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != GOLDEN_SCHEMA:
            raise BundleError(f"{path} has the schema version {value['schema_version']!r}")
        rows = value["cases"]
        cases = tuple(_case(row) for row in rows)
        if len({case.name for case in cases}) != len(cases):
            raise ValueError("two cases have the same name")
        version = value.get("awkward_version")
        return Golden(
            cases=cases,
            reference=_matrix([row["reference_logits"] for row in rows]),
            artifacts=_artifacts(rows),
            effective=_effective(rows),
            awkward_version=None if version is None else int(version),
        )
    except OSError as error:
        raise BundleError(f"{path} cannot be read", why=str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path} is not a golden file", why=repr(error), todo="export the bundle again"
        ) from error


def _case(row: dict[str, Any]) -> GoldenCase:
    case = GoldenCase(
        name=row["name"],
        set=row["set"],
        text=row["text"],
        input_ids=tuple(row["input_ids"]),
        attention_mask=tuple(row["attention_mask"]),
        targets=tuple(row["targets"]) if "targets" in row else None,
    )
    if case.set not in SETS:
        raise ValueError(f"{case.name} is in the unknown set {case.set!r}")
    if (case.targets is not None) != (case.set == VALIDATION):
        raise ValueError(f"{case.name}: only validation cases have true labels, and all of them do")
    if not case.input_ids or case.attention_mask != (1,) * len(case.input_ids):
        raise ValueError(f"{case.name}: the mask does not fit the ids")
    return case


def _artifacts(rows: list[dict[str, Any]]) -> dict[str, npt.NDArray[np.float32]]:
    paths = sorted(rows[0]["artifact_logits"]) if rows else []
    if any(sorted(row["artifact_logits"]) != paths for row in rows):
        raise ValueError("an artifact has logits for some cases only")
    return {path: _matrix([row["artifact_logits"][path] for row in rows]) for path in paths}


def _effective(rows: list[dict[str, Any]]) -> dict[str, EffectiveLogits]:
    logits: dict[str, dict[int, list[float]]] = {}
    for i, row in enumerate(rows):
        for path, values in row.get("effective_logits", {}).items():
            logits.setdefault(path, {})[i] = values
    return {
        path: EffectiveLogits(tuple(found), _matrix(list(found.values())))
        for path, found in sorted(logits.items())
    }


def _matrix(rows: list[list[float]]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        matrix = np.array(rows, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError("rows of unlike lengths")
    if not np.isfinite(matrix).all():
        raise ValueError("a logit is not a finite number")
    return matrix
