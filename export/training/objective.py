"""What a run trains: a module, its rows and its loss. The rest of a run is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from export.data.task import TextDataset
from export.settings import FineTuneSettings
from export.tokenizers import describe_tokenizer
from export.training.class_weights import balanced_weights
from export.training.features import Features, PadToLongest
from export.training.losses import TaskLoss, count
from export.training.model import Start, starting_point
from export.training.predict import Collate

Inputs = dict[str, torch.Tensor]
Rows = torch.utils.data.Dataset[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LossResult:
    """The loss of one pass.

    Attributes:
        loss: scalar: a sum over the pass's targets divided by those of the whole step.
        terms: its parts, divided likewise; shown epoch by epoch.
    """

    loss: torch.Tensor
    terms: dict[str, torch.Tensor] = field(default_factory=dict)


class Loss(Protocol):
    """A loss that can be cut into passes and processes."""

    def __call__(self, model: torch.nn.Module, inputs: Inputs, items: torch.Tensor) -> LossResult:
        """The loss of a pass.

        Args:
            model: the module, perhaps wrapped; call it, look for nothing inside.
            inputs: what `collate` made, on the model's device; a copy, free to change.
            items: what `count` gave, summed over all passes and processes of the step.
        """


@dataclass(frozen=True, slots=True)
class Objective:
    """What a run trains.

    Attributes:
        start: model and tokenizer; the model is what is saved in the end.
        module: what is trained, `start.model` or something that shares its modules.
        datasets: split → rows with ``labels``. Where a step has too few texts for all processes,
            the training rows are asked for row n + i: row i of n without a target.
        collate: rows → tensors.
        loss: of one pass.
        count: inputs → int64 [k]: what the sums of the loss are divided by.
        lengths: ids of each training row, for batches of like length; None makes random ones.
        class_weights: what the loss has, for the baselines.
        fingerprint: JSON-safe; a run with another one is not continued.
        finish: called once, when training is done and the best weights are in the module, before
            they are scored and saved.
        record: further entries of training.json, asked for after that.
    """

    start: Start
    module: torch.nn.Module
    datasets: Mapping[str, Rows]
    collate: Collate
    loss: Loss
    count: Callable[[Inputs], torch.Tensor] = lambda inputs: count(inputs["labels"])[None]
    lengths: Sequence[int] | None = None
    class_weights: tuple[float, ...] | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[], object] = dict
    record: Callable[[], dict[str, Any]] = dict


Prepare = Callable[[TextDataset, FineTuneSettings, Path], Objective]


def whole(dataset: TextDataset, settings: FineTuneSettings, destination: Path) -> Objective:
    """Fine-tune all weights of the classifier.

    Raises:
        UserError: the model cannot be had.
    """
    del destination
    start = starting_point(settings, dataset)
    rows = features_of(dataset, settings, start)
    loss = task_loss(dataset, settings)
    return Objective(
        start=start,
        module=start.model,
        datasets=rows,
        collate=padding_of(start, settings),
        loss=ClassifierLoss(loss),
        lengths=rows["train"].lengths,
        class_weights=loss.weights,
    )


def features_of(
    dataset: TextDataset, settings: FineTuneSettings, start: Start
) -> dict[str, Features]:
    """Ids and targets of every split."""
    return {
        split: Features(
            examples,
            start.tokenizer,
            max_length=settings.max_length,
            labels=len(dataset.labels),
            multi_label=dataset.is_multi_label,
        )
        for split, examples in dataset.splits.items()
    }


def padding_of(start: Start, settings: FineTuneSettings) -> PadToLongest:
    """Padding as the model's family wants it, with its token types."""

    def token_types(input_ids: torch.Tensor, mask: torch.Tensor) -> Inputs:
        inputs = start.family.inputs(start.model, input_ids, mask)
        # Not its mask: that one is made for export, and mixed precision refuses it.
        return {name: inputs[name] for name in ("token_type_ids",) if name in inputs}

    spec = describe_tokenizer(start.tokenizer, settings.max_length, start.family)
    return PadToLongest(spec.pad_id, start.family.pad_side, token_types)


def task_loss(dataset: TextDataset, settings: FineTuneSettings) -> TaskLoss:
    """The task's loss with the weights and the smoothing that the settings ask for."""
    chosen = settings.effective
    return TaskLoss(
        multi_label=dataset.is_multi_label,
        weights=balanced_weights(dataset) if chosen.class_weights == "balanced" else None,
        smoothing=0.0 if dataset.is_multi_label else chosen.label_smoothing,
    )


@dataclass(frozen=True, slots=True)
class ClassifierLoss:
    """The task's loss of a module that gives ``logits`` for everything but ``labels``."""

    task: TaskLoss

    def __call__(self, model: torch.nn.Module, inputs: Inputs, items: torch.Tensor) -> LossResult:
        """See `Loss`."""
        labels = inputs.pop("labels")
        return LossResult(self.task(model(**inputs)["logits"], labels, items[0]))
