"""After the last step: scores, thresholds, baselines, and the checkpoint, training.json last."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from export.data.task import TextDataset
from export.publish import publish_folder, staging_folder
from export.quiet import silent
from export.settings import FineTuneSettings
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.baselines import run_baselines
from export.training.baselines.timing import milliseconds_per_text
from export.training.evaluation import Evaluation, as_matrix, evaluate
from export.training.history import Epoch, History
from export.training.model import Start
from export.training.objective import Objective, Rows, padding_of
from export.training.predict import predict
from export.training.record import TrainingRecord, TransformerCost, is_run, write_record
from export.training.thresholds import tune_thresholds
from runtime.console import stage

# Some figures of an evaluation, as schema 1 had them.
_MAIN = ("accuracy", "macro_f1", "micro_f1", "exact_match")


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A finished run.

    Attributes:
        checkpoint: folder with the best epoch's weights.
        metric_name: accuracy or micro_f1.
        baseline: bag-of-words on the validation split, the same metric.
        record: everything, as training.json has it.
    """

    checkpoint: Path
    epochs: tuple[Epoch, ...]
    best: int
    metric_name: str
    validation: dict[str, float]
    test: dict[str, float]
    baseline: float
    baseline_test: float
    parameters: int
    seconds: float
    record: TrainingRecord


@dataclass(frozen=True, slots=True)
class Trained:
    """What training has left.

    Attributes:
        objective: its module has the best epoch's weights.
        precision: of the passes.
        device: ``cpu`` or the accelerator's name.
        padding: mode and share.
    """

    objective: Objective
    history: History
    metric_name: str
    precision: str
    device: str
    processes: int
    padding: dict[str, Any]


def conclude(
    dataset: TextDataset,
    settings: FineTuneSettings,
    trained: Trained,
    destination: Path,
    *,
    began: float,
) -> FineTuned:
    """Score, compare and write.

    Args:
        dataset: with the splits train, validation and test.
        settings: of the run.
        trained: what training has left.
        destination: replaced as a whole.
        began: `time.monotonic` at the run's start.

    Raises:
        UserError: the destination holds something else, or cannot be written.
    """
    start = trained.objective.start
    trained.objective.finish()
    record = _record(dataset, settings, trained)
    spec = describe_tokenizer(start.tokenizer, settings.max_length, start.family)
    with staging_folder(destination) as staging:
        with silent():
            start.model.save_pretrained(staging)
        write_tokenizer(start.tokenizer, spec, staging)
        write_record(record, staging)
        publish_folder(staging, destination, is_ours=is_run)
    words: dict[str, Any] = next(
        (row["metrics"] for row in record.baselines if row["name"] == "bag_of_words"), {}
    )
    name = record.metric_name
    return FineTuned(
        checkpoint=destination,
        epochs=record.epochs,
        best=record.best_epoch,
        metric_name=name,
        validation=record.validation,
        test=record.test,
        baseline=words.get("validation", {}).get(name, 0.0),
        baseline_test=words.get("test", {}).get(name, 0.0),
        parameters=sum(p.numel() for p in start.model.parameters()),
        seconds=time.monotonic() - began,
        record=record,
    )


def targets_of(rows: Rows) -> npt.NDArray[Any]:
    """Label indices [texts], or 0/1 [texts, labels]."""
    return np.asarray([rows[i]["labels"] for i in range(len(rows))])  # type: ignore[arg-type]


def _record(dataset: TextDataset, settings: FineTuneSettings, trained: Trained) -> TrainingRecord:
    objective, history = trained.objective, trained.history
    scores, thresholds = _evaluations(dataset, settings, objective)
    flat = {
        split: {name: score.flat[name] for name in _MAIN if name in score.flat}
        for split, score in scores.items()
    }
    baselines = run_baselines(
        dataset,
        seed=settings.seed,
        which=settings.run.baselines,
        class_weights=objective.class_weights,
        thresholds=settings.thresholds,
    )
    return TrainingRecord(
        model=objective.start.name,
        revision=objective.start.revision,
        family=objective.start.family.name,
        data={
            "name": dataset.name,
            "sha256": dataset.sha256(),
            "rows": {split: len(rows) for split, rows in dataset.splits.items()},
            "labels": list(dataset.labels),
            "multi_label": dataset.is_multi_label,
        },
        settings=settings.what_decides(),
        tuning=settings.tuning,
        epochs=tuple(history.epochs),
        best_epoch=history.best,
        stopped_early=history.stopped_early,
        steps=tuple(history.steps),
        metric_name=trained.metric_name,
        thresholds=thresholds,
        evaluation={split: score.to_json() for split, score in scores.items()},
        validation=flat["validation"],
        test=flat["test"],
        baselines=tuple(row.to_json() for row in baselines),
        transformer=_cost(dataset, settings, trained),
        class_weights=objective.class_weights,
        resumed_from_steps=tuple(history.resumed_from),
        processes=trained.processes,
        precision=trained.precision,
        compiled=settings.compile,
        device=trained.device,
        padding=trained.padding,
        versions=versions(),
        seed=settings.seed,
        extra=objective.record(),
    )


def _evaluations(
    dataset: TextDataset, settings: FineTuneSettings, objective: Objective
) -> tuple[dict[str, Evaluation], tuple[float, ...] | None]:
    """Both splits by the weights as they are saved, with thresholds from the validation split."""
    logits, targets = {}, {}
    with stage("scoring the best epoch"):
        for split in ("validation", "test"):
            rows = objective.datasets[split]
            logits[split] = predict(objective.module, rows, objective.collate)
            targets[split] = targets_of(rows)
    thresholds = None
    many = dataset.is_multi_label
    if many and settings.thresholds == "tuned":
        truth = as_matrix(targets["validation"], len(dataset.labels), multi_label=True)
        thresholds = tune_thresholds(logits["validation"], truth)
    scores = {
        split: evaluate(
            logits[split], targets[split], dataset.labels, multi_label=many, thresholds=thresholds
        )
        for split in logits
    }
    return scores, thresholds


def _cost(dataset: TextDataset, settings: FineTuneSettings, trained: Trained) -> TransformerCost:
    parameters = list(trained.objective.start.model.parameters())
    return TransformerCost(
        training_seconds=sum(epoch.seconds for epoch in trained.history.epochs),
        prediction_ms_per_text=_milliseconds(dataset, settings, trained.objective.start),
        bytes=sum(p.numel() * 4 for p in parameters),
        parameters=sum(p.numel() for p in parameters),
    )


def _milliseconds(dataset: TextDataset, settings: FineTuneSettings, start: Start) -> float:
    """As the baselines are timed: from text to logits, text by text."""
    collate = padding_of(start, settings)

    def one(text: str) -> object:
        return predict(start.model, _Row(start.tokenizer.encode(text).ids), collate)

    return milliseconds_per_text(one, [row.text for row in dataset.splits["validation"]])


class _Row(torch.utils.data.Dataset[dict[str, Any]]):
    """One text."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self._ids}


def versions() -> dict[str, str]:
    """What the run was made with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
