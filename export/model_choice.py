"""Which checkpoint is exported: as it is, fine-tuned first, or one that an earlier run finished."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from export.checkpoint import Checkpoint, find_checkpoint, load_classifier, load_tokenizer
from export.data.task import Example, TextDataset
from export.golden_writer import choose_validation
from export.reference import reference_from_model, reference_logits
from export.settings import FineTuneSettings
from export.training.thresholds import recorded_thresholds
from runtime.errors import UserError
from runtime.files import canonical_json
from runtime.manifest import TaskSpec
from runtime.parity.metrics import one_hot
from runtime.parity.reference_gate import doubts_about_reference

FineTuneMode = Literal["auto", "always", "never"]

# Enough texts to tell a trained model from a constant answer.
_PROBE_TEXTS = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with MODEL=.

    Attributes:
        checkpoint: to export as it is; None means fine-tune first.
        reason: one sentence for the user.
    """

    checkpoint: Checkpoint | None
    reason: str


def task_spec(dataset: TextDataset, checkpoint: Checkpoint | None = None) -> TaskSpec:
    """The manifest's task.

    Args:
        dataset: with its labels in the order of the logits.
        checkpoint: whose training run may have tuned thresholds for multi-label; by name they
            follow their labels. A label without one has 0.5.

    Raises:
        UserError: the run's record is corrupt.
    """
    if not dataset.is_multi_label:
        return TaskSpec("single_label", "softmax", dataset.labels)
    tuned = {} if checkpoint is None else recorded_thresholds(checkpoint.path)
    thresholds = tuple(tuned.get(label, 0.5) for label in dataset.labels)
    return TaskSpec("multi_label", "sigmoid", dataset.labels, thresholds)


def choose(dataset: TextDataset, settings: FineTuneSettings, mode: FineTuneMode) -> Choice:
    """Decide whether MODEL= needs fine-tuning.

    ``auto`` exports a checkpoint as it is if its head fits the data's labels and beats the best
    constant answer on the validation texts; otherwise it is fine-tuned first.

    Raises:
        UserError: the checkpoint cannot be read, or mode is ``never`` and it does not fit.
    """
    if settings.is_from_scratch:
        if mode == "never":
            raise UserError(
                "there is nothing to export without fine-tuning",
                why=f"{settings.model} starts from random weights",
                todo="name a fine-tuned checkpoint: MODEL=folder",
            )
        return Choice(None, f"{settings.model} is trained from scratch")
    if mode == "always":
        return Choice(None, f"{settings.model} is fine-tuned, as asked")
    checkpoint = find_checkpoint(settings.model, settings.revision)
    problem = misfit(checkpoint, dataset)
    if mode == "never":
        if problem:
            raise UserError(
                f"{checkpoint.name} cannot be exported as it is",
                why=problem,
                todo="drop FINETUNE=never to fine-tune it first, or name other DATA=",
            )
        return Choice(checkpoint, f"{checkpoint.name} is exported as it is, as asked")
    problem = problem or _not_learned(checkpoint, dataset, settings.max_length)
    if problem:
        return Choice(None, f"{checkpoint.name} is fine-tuned first: {problem}")
    return Choice(checkpoint, f"{checkpoint.name} already solves the task and is exported as it is")


def labels_of(checkpoint: Checkpoint, dataset: TextDataset) -> tuple[str, ...]:
    """The labels in the order of the logits: the checkpoint's, or the data's if it names none."""
    return checkpoint.labels if checkpoint.names_labels else dataset.labels


def relabel(dataset: TextDataset, labels: tuple[str, ...]) -> TextDataset:
    """The dataset with its label indices in another order; `labels` may hold more."""
    index = [labels.index(label) for label in dataset.labels]
    splits = {
        name: tuple(Example(e.text, tuple(sorted(index[i] for i in e.labels))) for e in rows)
        for name, rows in dataset.splits.items()
    }
    return replace(dataset, labels=labels, splits=splits)


def misfit(checkpoint: Checkpoint, dataset: TextDataset) -> str:
    """Why the head does not fit the data; empty if it does."""
    if not checkpoint.has_head:
        return "it has no classification head"
    if checkpoint.is_multi_label != dataset.is_multi_label:
        kinds = ("single-label", "multi-label")
        return (
            f"its head is {kinds[checkpoint.is_multi_label]} and the data "
            f"{kinds[dataset.is_multi_label]}"
        )
    if not checkpoint.names_labels:
        if len(checkpoint.labels) != len(dataset.labels):
            return f"its head has {len(checkpoint.labels)} labels, the data {len(dataset.labels)}"
        return ""
    strange = [label for label in dataset.labels if label not in checkpoint.labels]
    return f"its head does not know the label {strange[0]!r}" if strange else ""


def _not_learned(checkpoint: Checkpoint, dataset: TextDataset, max_length: int) -> str:
    dataset = relabel(dataset, labels_of(checkpoint, dataset))
    texts = choose_validation(dataset.splits["validation"], _PROBE_TEXTS)
    reference = reference_from_model(load_classifier(checkpoint))
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.enable_truncation(max_length=min(max_length, reference.max_positions))
    tokenizer.no_padding()
    logits = reference_logits(reference, [tokenizer.encode(e.text).ids for e in texts])
    targets = one_hot([e.labels for e in texts], len(dataset.labels))
    doubts = doubts_about_reference(logits, targets, task_spec(dataset, checkpoint))
    return doubts[0] if doubts else ""


def checkpoint_folder(root: Path, dataset: TextDataset, settings: FineTuneSettings) -> Path:
    """Where a fine-tuned checkpoint of this data and these settings lies.

    The name carries a hash of both, so that a finished run is found again and a change of either
    trains anew. A local starting checkpoint counts with its weights' hash.
    """
    origin = settings.model
    if not settings.is_from_scratch:
        checkpoint = find_checkpoint(origin, settings.revision)
        origin = f"{checkpoint.name}@{checkpoint.weights_sha256()}"
    key = canonical_json(
        {
            "data": dataset.sha256(),
            "origin": origin,
            "settings": settings.what_decides() | {"model": "", "revision": None},
        }
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    plain = "".join(c if c.isalnum() else "-" for c in dataset.name).strip("-")
    return root / f"{plain}-{digest}"
