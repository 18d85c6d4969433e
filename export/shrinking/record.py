"""shrinking.json: what was left out of a checkpoint, and training.json as it is true afterwards."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from export.shrinking.effect import Effect, SplitEffect
from export.shrinking.verify import Verified
from export.shrinking.vocabulary import VocabularyFigures
from export.training import record as training_record
from export.training.provenance import record_of
from export.training.record import is_run, write_record
from runtime.errors import UserError
from runtime.files import canonical_json

# Written last: a folder without it is not a finished one.
SHRINK_FILE = "shrinking.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ShrinkRecord:
    """Everything that shrinking.json holds; every number is JSON-safe.

    Attributes:
        name: of the smaller checkpoint, for people.
        source: name, revision and weights_sha256 of the checkpoint that it was made from.
        key: SHA-256 of all that decides on the result.
        layers: those that were kept; None where all were.
        layers_before: how many there were.
        vocabulary: None where it was kept.
        verified: what was compared; None where the vocabulary was kept.
        parameters_before, parameters_after: numbers in the weight files.
        bytes_before, bytes_after: of the weight files.
        effect: per split, what changed; empty where there were no labelled texts for its head.
    """

    name: str
    source: dict[str, str | None]
    key: str
    layers: tuple[int, ...] | None
    layers_before: int
    vocabulary: VocabularyFigures | None
    verified: Verified | None
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    effect: tuple[SplitEffect, ...]

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}


def is_shrunk(path: Path) -> bool:
    """Whether a folder holds a finished smaller checkpoint."""
    return (path / SHRINK_FILE).is_file()


def is_replaceable(path: Path) -> bool:
    """Whether a folder holds a checkpoint of ours, which a new one may replace."""
    return is_shrunk(path) or is_run(path)


def write_shrink_record(record: ShrinkRecord, folder: Path) -> None:
    """Write shrinking.json; the caller does it last."""
    (folder / SHRINK_FILE).write_text(canonical_json(record.to_json()), encoding="utf-8")


def read_shrink_record(folder: Path) -> ShrinkRecord:
    """Read shrinking.json.

    Raises:
        UserError: it is missing, corrupt or of a version that this program does not know.
    """
    file = folder / SHRINK_FILE
    try:
        values = json.loads(file.read_bytes())
        version = values.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {version}",
                why=f"this program knows {SCHEMA_VERSION}",
                todo="use the program that wrote it, or a newer one",
            )
        layers, vocabulary, verified = (values[n] for n in ("layers", "vocabulary", "verified"))
        return ShrinkRecord(
            **values
            | {
                "layers": None if layers is None else tuple(layers),
                "vocabulary": vocabulary and VocabularyFigures(**vocabulary),
                "verified": verified and Verified(**verified),
                "effect": tuple(SplitEffect(**row) for row in values["effect"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read",
            why=f"{type(error).__name__}: {error}",
            todo="remove the folder and shrink again",
        ) from error


def carry_training_record(
    source: Checkpoint, record: ShrinkRecord, effect: Effect | None, folder: Path
) -> None:
    """Write training.json, where the source has one of ours.

    How the weights were trained and the thresholds stay; figures of the larger model would be false
    here, so they are the measured ones or none.

    Raises:
        UserError: the source's is corrupt.
    """
    trained = record_of(source.path)
    if trained is None:
        return
    evaluation = {} if effect is None else effect.evaluation
    main = ("accuracy", "macro_f1", "micro_f1", "exact_match")
    flat = {
        split: {name: score.flat[name] for name in main if name in score.flat}
        for split, score in evaluation.items()
    }
    # Baselines stand beside the model only where they answered the same texts.
    same_data = (
        effect is not None
        and trained.data.get("sha256") == effect.data_sha256
        and all(split.texts == split.of for split in effect.splits)
    )
    write_record(
        dataclasses.replace(
            trained,
            model=record.name,
            revision=None,
            evaluation={split: score.to_json() for split, score in evaluation.items()},
            validation=flat.get("validation", {}),
            test=flat.get("test", {}),
            baselines=trained.baselines if same_data else (),
            transformer=None,
            # It may have been read from an older version.
            schema_version=training_record.SCHEMA_VERSION,
            extra=trained.extra | {"shrinking": record.to_json()},
        ),
        folder,
    )
