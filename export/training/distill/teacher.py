"""The teacher: found, loaded, and asked once per text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_classifier,
    load_tokenizer,
    load_weights,
)
from export.data.task import TextDataset
from export.families import Family
from export.training.vector_cache import cache_file, cached_vectors
from runtime.console import progress_bar
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Teacher:
    """A checkpoint that was loaded for teaching: in float32, in eval mode, without gradients.

    Attributes:
        model: a classifier, or a masked language model.
        sha256: of its weights.
    """

    checkpoint: Checkpoint
    model: PreTrainedModel
    tokenizer: Tokenizer
    sha256: str

    @property
    def name(self) -> str:
        """For people: folder or hub name."""
        return self.checkpoint.name

    @property
    def family(self) -> Family:
        """What it is one of."""
        return self.checkpoint.family

    def describe(self) -> dict[str, Any]:
        """For training.json and for the fingerprint of a run."""
        return {
            "name": self.name,
            "revision": self.checkpoint.revision,
            "family": self.family.name,
            "weights_sha256": self.sha256,
            "parameters": self.model.num_parameters(),
        }


def peek(source: str) -> tuple[Family, Any]:
    """The family and the configuration of a checkpoint, without its weights.

    Raises:
        UserError: it cannot be had.
    """
    import transformers

    checkpoint = find_checkpoint(source)
    config = getattr(transformers, checkpoint.family.config_class)
    return checkpoint.family, config.from_dict(dict(checkpoint.config))


def load_teaching_classifier(source: str, max_length: int) -> Teacher:
    """A fine-tuned teacher.

    Raises:
        UserError: it cannot be had, has no classification head or too few positions.
    """
    checkpoint = find_checkpoint(source)
    if not checkpoint.has_head:
        raise UserError(
            f"{checkpoint.name} has no classification head, so it has no task to teach",
            todo=f"fine-tune it first: mobile-export finetune --model {source}; or teach language: "
            "--kind general",
        )
    return _teacher(checkpoint, load_classifier(checkpoint), max_length)


def load_teaching_language_model(
    source: str, max_length: int, *, needs_head: bool = True
) -> Teacher:
    """A teacher of language: an encoder with its masked-language head.

    Args:
        source: folder or hub name.
        max_length: that it must be able to read.
        needs_head: whether its predictions are wanted; without them a checkpoint without the head
            will do.

    Raises:
        UserError: it cannot be had, its family does not mask, or the head is wanted and not there.
    """
    checkpoint = find_checkpoint(source)
    return _teacher(checkpoint, load_masked_lm(checkpoint, needs_head=needs_head), max_length)


def load_masked_lm(checkpoint: Checkpoint, *, needs_head: bool) -> PreTrainedModel:
    """Build a masked language model in float32; the head is new where it may be and is not there.

    Raises:
        UserError: the family was not trained by masking, or weights are missing.
    """
    import transformers

    family = checkpoint.family
    if not family.masked_lm:
        raise UserError(
            f"{checkpoint.name} cannot take part in general distillation",
            why=f"{family.title} was not trained by masking, so it has no such head",
            todo="distil for a task instead: --kind task",
        )
    config = getattr(transformers, family.config_class).from_dict(dict(checkpoint.config))
    config.architectures = [family.masked_lm]
    model, holes = load_weights(checkpoint, family.masked_lm, config)
    inner = {key for key in holes if key.startswith(f"{family.root}.")}
    if inner:
        raise UserError(
            f"{checkpoint.name} lacks {len(inner)} of the encoder's weights",
            why=f"such as {min(inner)}; the result would be partly random",
        )
    if holes and needs_head:
        raise UserError(
            f"{checkpoint.name} has no masked-language head",
            why=f"{min(holes)} is not among its weights, so what it says about hidden words would "
            "be random",
            todo="take the checkpoint from before its fine-tuning, or teach by hidden states "
            "alone: --alpha-ce 0",
        )
    return model


def _teacher(checkpoint: Checkpoint, model: PreTrainedModel, max_length: int) -> Teacher:
    limit = checkpoint.family.longest(model.config)
    if limit is not None and max_length > limit:
        raise UserError(
            f"max length {max_length} is beyond the teacher {checkpoint.name}",
            why=f"it has positions for {limit} ids",
            todo=f"choose at most {limit}: --max-length {limit}",
        )
    model.eval()
    model.requires_grad_(False)
    return Teacher(checkpoint, model, load_tokenizer(checkpoint), checkpoint.weights_sha256())


def label_order(teacher: Checkpoint, dataset: TextDataset) -> tuple[tuple[str, ...], list[int]]:
    """The labels that the student gets, and where the teacher's logits have them.

    Those of the data in their order, then any that the teacher knows besides: texts without labels
    may carry them. A teacher whose labels have no names must have as many as the data.

    Returns:
        Names, and for each the column of the teacher's logits.

    Raises:
        UserError: single-label and multi-label do not meet, or the teacher does not know a label.
    """
    if teacher.is_multi_label != dataset.is_multi_label:
        kinds = ("single-label", "multi-label")
        raise UserError(
            f"the teacher {teacher.name} is {kinds[teacher.is_multi_label]} and the data "
            f"{kinds[dataset.is_multi_label]}",
            todo="name the data that it was fine-tuned on, or say what they are with --task",
        )
    if not teacher.names_labels:
        if len(teacher.labels) != len(dataset.labels):
            raise UserError(
                f"the teacher {teacher.name} has {len(teacher.labels)} labels without names, the "
                f"data {len(dataset.labels)}",
                todo="name the data that it was fine-tuned on",
            )
        return dataset.labels, list(range(len(dataset.labels)))
    strange = [label for label in dataset.labels if label not in teacher.labels]
    if strange:
        raise UserError(
            f"the teacher {teacher.name} does not know the label {strange[0]!r}",
            why=f"it knows {', '.join(teacher.labels[:8])}"
            + (" and more" if len(teacher.labels) > 8 else ""),
            todo="name the data that it was fine-tuned on",
        )
    more = tuple(label for label in teacher.labels if label not in dataset.labels)
    labels = (*dataset.labels, *more)
    return labels, [teacher.labels.index(label) for label in labels]


def teacher_logits(
    teacher: Teacher,
    sequences: Sequence[Sequence[int]],
    cache: Path,
) -> npt.NDArray[np.float32]:
    """What a classifier says about texts: every text goes through it once, and never again.

    Args:
        teacher: from `load_teaching_classifier`.
        sequences: ids, special tokens included.
        cache: folder of the files with earlier answers, found by weights and ids.

    Returns:
        float32 [texts, labels], in the order of the teacher's labels.

    Raises:
        UserError: a logit is not finite, or the folder cannot be written.
    """

    def compute(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(ids)
            out = teacher.family.logits(teacher.model, batch, torch.ones_like(batch))
        answer: npt.NDArray[np.float32] = out.numpy()
        return answer

    digest = hashlib.sha256()
    for row in sequences:
        digest.update(np.array([len(row), *row], dtype=np.int64).tobytes())
    key = {
        "what": "logits",
        "weights": teacher.sha256,
        "family": teacher.family.name,
        "ids_sha256": digest.hexdigest(),
    }
    with progress_bar("teacher") as show:
        return cached_vectors(cache_file(cache, key), sequences, compute, progress=show)
