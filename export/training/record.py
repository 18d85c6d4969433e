"""training.json: how a checkpoint came to be, for people and for the steps that follow."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.training.history import Epoch, StepPoint
from runtime.errors import UserError
from runtime.files import canonical_json

# Written last: a folder without it is not a finished run.
RUN_FILE = "training.json"
SCHEMA_VERSION = 2


def is_run(path: Path) -> bool:
    """Whether a folder holds a finished run, which a new one may replace."""
    return (path / RUN_FILE).is_file()


@dataclass(frozen=True, slots=True)
class TransformerCost:
    """What the model takes.

    Attributes:
        training_seconds: wall time of all epochs, interrupted runs included.
        prediction_ms_per_text: median over single texts, from text to logits, in float32.
        bytes: of its float32 weights.
        parameters: how many there are.
    """

    training_seconds: float
    prediction_ms_per_text: float
    bytes: int
    parameters: int


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """Everything that training.json holds; every number is JSON-safe.

    Attributes:
        model: what the run started from, for people.
        revision: commit on the hub, None otherwise.
        family: transformers' model type.
        data: name, sha256, rows of each split, labels in the order of the logits, multi_label.
        settings: of the run, with the effective ``hyperparameters``.
        tuning: ``whole`` or ``head``.
        epochs: in order.
        best_epoch: whose weights were kept, from 1.
        stopped_early: not all epochs were trained.
        steps: the loss's curve.
        metric_name: what chose the best epoch.
        thresholds: multi-label, tuned on the validation split; None is 0.5.
        evaluation: split → `Evaluation.to_json`.
        validation, test: their main figures.
        baselines: `BaselineResult.to_json`, each.
        transformer: what the model takes.
        class_weights: of the loss; None is 1 for all.
        resumed_from_steps: where interrupted runs were continued.
        processes: that trained together.
        precision: of the passes in training.
        compiled: with torch.compile.
        device: ``cpu`` or the accelerator's name.
        padding: mode of making batches and the share of ids that was padding.
        versions: of Python and packages.
        seed: of weights, shuffling and dropout.
        schema_version: of the file that this was read from.
        extra: further top-level entries, such as ``distillation``.
    """

    model: str
    revision: str | None
    family: str
    data: dict[str, Any]
    settings: dict[str, Any]
    tuning: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    steps: tuple[StepPoint, ...]
    metric_name: str
    thresholds: tuple[float, ...] | None
    evaluation: dict[str, dict[str, Any]]
    validation: dict[str, float]
    test: dict[str, float]
    baselines: tuple[dict[str, Any], ...]
    transformer: TransformerCost | None
    class_weights: tuple[float, ...] | None
    resumed_from_steps: tuple[int, ...]
    processes: int
    precision: str
    compiled: bool
    device: str
    padding: dict[str, Any]
    versions: dict[str, str]
    seed: int
    schema_version: int = SCHEMA_VERSION
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        values = dataclasses.asdict(self)
        extra: dict[str, Any] = values.pop("extra")
        return extra | values

    @property
    def baseline_test(self) -> dict[str, float]:
        """Baseline → its main metric on the test split, where it has one."""
        found = {row["name"]: row["metrics"].get("test", {}) for row in self.baselines}
        return {
            name: float(metrics[self.metric_name])
            for name, metrics in found.items()
            if self.metric_name in metrics
        }


def write_record(record: TrainingRecord, folder: Path) -> None:
    """Write training.json; the caller does it last."""
    (folder / RUN_FILE).write_text(canonical_json(record.to_json()), encoding="utf-8")


def read_record(folder: Path) -> TrainingRecord:
    """Read training.json of this version or of version 1.

    Raises:
        UserError: it is missing, corrupt or of a version that this program does not know.
    """
    file = folder / RUN_FILE
    try:
        values = json.loads(file.read_bytes())
        version = values["schema_version"]
        if version == 1:
            values = _from_version_1(values)
        elif version != SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {version}",
                why=f"this program knows 1 and {SCHEMA_VERSION}",
                todo="use the program that wrote it, or a newer one",
            )
        return _parse(values)
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}", why="the folder holds no run of ours") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read", why=f"{type(error).__name__}: {error}", todo="train again"
        ) from error


def _parse(values: dict[str, Any]) -> TrainingRecord:
    names = {f.name for f in dataclasses.fields(TrainingRecord)} - {"extra"}
    known = {name: values[name] for name in names}
    cost = known["transformer"]
    tuples = {
        name: None if known[name] is None else tuple(known[name])
        for name in ("thresholds", "class_weights", "resumed_from_steps", "baselines")
    }
    return TrainingRecord(
        **known
        | tuples
        | {
            "epochs": tuple(Epoch(**row) for row in known["epochs"]),
            "steps": tuple(StepPoint(**row) for row in known["steps"]),
            "transformer": None if cost is None else TransformerCost(**cost),
            "extra": {name: value for name, value in values.items() if name not in names},
        }
    )


def _from_version_1(old: dict[str, Any]) -> dict[str, Any]:
    """What version 1 did not know is empty or None, never invented."""
    metric = "accuracy" if "accuracy" in old["validation"] else "micro_f1"
    words = {split: {metric: value} for split, value in old["bag_of_words"].items()}
    return {
        "model": old["model"],
        "revision": old["revision"],
        "family": "distilbert",
        "data": old["data"],
        "settings": old["settings"],
        "tuning": "whole",
        "epochs": [{"learning_rate": 0.0} | epoch for epoch in old["epochs"]],
        "best_epoch": old["best_epoch"],
        "stopped_early": False,
        "steps": [],
        "metric_name": metric,
        "thresholds": None,
        "evaluation": {},
        "validation": old["validation"],
        "test": old["test"],
        "baselines": [{"name": "bag_of_words", "metrics": words}],
        "transformer": None,
        "class_weights": None,
        "resumed_from_steps": [],
        "processes": 1,
        "precision": "float32",
        "compiled": False,
        "device": "cpu",
        "padding": {},
        "versions": old["versions"],
        "seed": old["settings"]["seed"],
        "schema_version": 1,
    }
