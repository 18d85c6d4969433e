"""golden.json: the texts, ids and logits that every device replays.

The file holds the whole reference set: the validation texts with their true labels and the fixed
awkward texts, each with the ids the tokenizer must give, PyTorch's float32 logits and the logits of
every artifact in the bundle.
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
VALIDATION = "validation"
AWKWARD = "awkward"


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One text.

    Attributes:
        name: unique, such as ``validation/17`` or ``awkward/empty``.
        set: ``validation`` (has true labels) or ``awkward`` (has none).
        text: may hold any code point, lone surrogates too.
        input_ids: not padded.
        attention_mask: all ones, as long as `input_ids`.
        targets: indices of the true labels; None for an awkward text.
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
    """

    cases: tuple[GoldenCase, ...]
    reference: npt.NDArray[np.float32]
    artifacts: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    effective: dict[str, EffectiveLogits] = field(default_factory=dict)

    def rows(self, name: str) -> npt.NDArray[np.int64]:
        """Indices of the cases of one set."""
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
                "reference_logits": _shortest(self.reference[row]),
                "artifact_logits": {
                    path: _shortest(logits[row]) for path, logits in self.artifacts.items()
                },
            }
            effective = {
                path: _shortest(self.effective[path].logits[place[row]])
                for path, place in places.items()
                if row in place
            }
            if effective:
                value["effective_logits"] = effective
            if case.targets is not None:
                value["targets"] = list(case.targets)
            lines.append(canonical_json(value, indent=None).rstrip("\n"))
        body = ",\n".join(lines)
        return f'{{"schema_version":{GOLDEN_SCHEMA},"cases":[\n{body}\n]}}\n'


def _shortest(row: npt.NDArray[np.float32]) -> list[float]:
    # str(float32) is the shortest text that reads back to the same float32.
    return [float(str(value)) for value in row]


def read_golden(path: Path) -> Golden:
    """Read golden.json.

    Raises:
        BundleError: missing, not JSON, another schema version, or rows of unlike lengths.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != GOLDEN_SCHEMA:
            raise BundleError(f"{path} has the schema version {value['schema_version']!r}")
        rows = value["cases"]
        cases = tuple(
            GoldenCase(
                name=row["name"],
                set=row["set"],
                text=row["text"],
                input_ids=tuple(row["input_ids"]),
                attention_mask=tuple(row["attention_mask"]),
                targets=tuple(row["targets"]) if "targets" in row else None,
            )
            for row in rows
        )
        paths = sorted(rows[0]["artifact_logits"]) if rows else []
        return Golden(
            cases=cases,
            reference=_matrix([row["reference_logits"] for row in rows]),
            artifacts={p: _matrix([row["artifact_logits"][p] for row in rows]) for p in paths},
            effective=_effective(rows),
        )
    except OSError as error:
        raise BundleError(f"{path} cannot be read", why=str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"{path} is not a golden file", why=repr(error), todo="export the bundle again"
        ) from error


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
    matrix = np.array(rows, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError("rows of unlike lengths")
    return matrix
