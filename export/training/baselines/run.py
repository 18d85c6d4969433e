"""Train the baselines, time them and score them by the transformer's own measure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from export.data.task import TextDataset
from export.settings import BaselineName
from export.training.baselines.bag_of_words import BagOfWords
from export.training.baselines.lstm import Lstm
from export.training.baselines.result import BaselineResult
from export.training.baselines.targets import label_matrix
from export.training.baselines.timing import milliseconds_per_text
from export.training.evaluation import evaluate
from export.training.thresholds import tune_thresholds
from runtime.console import stage

BASELINES: tuple[BaselineName, ...] = ("bag_of_words", "lstm")


def run_baselines(
    dataset: TextDataset,
    splits: Sequence[str] = ("validation", "test"),
    *,
    seed: int,
    which: Sequence[BaselineName] = BASELINES,
    class_weights: Sequence[float] | None = None,
    thresholds: Literal["tuned", "half"] = "tuned",
    seconds: float = 30.0,
) -> tuple[BaselineResult, ...]:
    """Train each baseline once on the training split and score it on `splits`.

    Multi-label: thresholds are tuned on the validation split just as the transformer's are.

    Args:
        dataset: with the splits train and validation.
        splits: on which to score.
        seed: of the LSTM.
        which: in this order.
        class_weights: those of the transformer's loss, one per label: of the class for a
            single-label task, of the positives for a multi-label one.
        thresholds: ``tuned``, or ``half`` for 0.5 everywhere; multi-label only.
        seconds: that the LSTM may train for; it begins no epoch that would end later.
    """
    results = []
    for name in which:
        with stage(f"baseline: {name.replace('_', ' ')}"):
            results.append(_run(name, dataset, splits, seed, class_weights, thresholds, seconds))
    return tuple(results)


def _run(
    name: BaselineName,
    dataset: TextDataset,
    splits: Sequence[str],
    seed: int,
    class_weights: Sequence[float] | None,
    thresholds: Literal["tuned", "half"],
    seconds: float,
) -> BaselineResult:
    model: BagOfWords | Lstm
    if name == "lstm":
        model = Lstm(dataset, seed=seed, class_weights=class_weights, seconds=seconds)
    else:
        model = BagOfWords(dataset, class_weights=class_weights)
    began = time.monotonic()
    model.fit(dataset)
    training = time.monotonic() - began
    logits = {
        split: model.logits([row.text for row in dataset.splits[split]])
        for split in dict.fromkeys((*splits, "validation"))
    }
    truth = {split: label_matrix(dataset.splits[split], len(dataset.labels)) for split in logits}
    tuned = None
    if dataset.is_multi_label and thresholds == "tuned":
        tuned = tune_thresholds(logits["validation"], truth["validation"])
    metrics = {}
    for split in splits:
        matrix = truth[split]
        metrics[split] = evaluate(
            logits[split],
            matrix if dataset.is_multi_label else matrix.argmax(axis=1),
            dataset.labels,
            multi_label=dataset.is_multi_label,
            thresholds=tuned,
        ).flat
    settings = model.settings
    if dataset.is_multi_label:
        settings |= {"thresholds": "half" if tuned is None else "tuned"}
    return BaselineResult(
        name=name,
        metrics=metrics,
        training_seconds=training,
        prediction_ms_per_text=milliseconds_per_text(
            lambda text: model.logits([text]), [row.text for row in dataset.splits["validation"]]
        ),
        bytes=model.bytes,
        parameters=model.parameters,
        settings=settings,
    )
