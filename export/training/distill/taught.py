"""Rows with a teacher's answers, and the loss that learns from both answer and label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.training.distill.terms import soft_decisions, soft_targets
from export.training.features import IGNORED, Features
from export.training.losses import TaskLoss
from export.training.objective import Inputs, LossResult

Floats = npt.NDArray[np.float32]


class TaughtRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Texts with a label, then texts without; the teacher's answer with each.

    An index of n + i gives text i of n without a target, see `EpochBatches`.
    """

    def __init__(self, labelled: Features, ids: list[list[int]], answers: Floats) -> None:
        """Put the rows together.

        Args:
            labelled: the first rows.
            ids: of all rows.
            answers: the teacher's logits of all rows, [rows, labels].
        """
        self._labelled = labelled
        self._ids = ids
        self._answers = answers
        self._ignored = labelled[len(labelled)]["labels"]
        # Stands where a label is missing; `TaughtLoss` sees by `labelled` that it is none.
        self._none = [0.0] * answers.shape[1] if isinstance(self._ignored, list) else 0

    @property
    def lengths(self) -> list[int]:
        """Ids of each text."""
        return [len(ids) for ids in self._ids]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        text = index % len(self)
        has_label = text < len(self._labelled)
        target = self._labelled[text]["labels"] if has_label else self._none
        return {
            "input_ids": self._ids[text],
            "labels": target if text == index else self._ignored,
            "labelled": has_label,
            "teacher": self._answers[text].tolist(),
        }


def count_rows(inputs: Inputs) -> torch.Tensor:
    """Texts that count, int64 [1]: all but those that only fill a step up."""
    return _counting(inputs["labels"]).sum()[None]


def _counting(labels: torch.Tensor) -> torch.Tensor:
    """Bool [batch]."""
    return (labels if labels.dim() == 1 else labels[:, 0]) != IGNORED


@dataclass(frozen=True, slots=True)
class TaughtLoss:
    """alpha · soft + (1 - alpha) · hard, each averaged over all texts of the step.

    A text without label adds to the soft term alone, so with few labels the teacher says most. The
    hard term is the task's own loss with its class weights.

    Attributes:
        task: the hard term.
        alpha: weight of the soft one.
        temperature: of the soft one.
    """

    task: TaskLoss
    alpha: float
    temperature: float

    def __call__(self, model: torch.nn.Module, inputs: Inputs, items: torch.Tensor) -> LossResult:
        """See `Loss`; items: of `count_rows`."""
        labels, labelled = inputs.pop("labels"), inputs.pop("labelled").bool()
        teacher = inputs.pop("teacher").float()
        logits = model(**inputs)["logits"].float()
        counting, texts = _counting(labels), items[0].clamp(min=1)
        soft_term = soft_decisions if self.task.multi_label else soft_targets
        soft = soft_term(logits[counting], teacher[counting], self.temperature)
        soft = soft * counting.sum() / texts
        ignored = torch.full_like(labels, IGNORED)
        known = torch.where(_like(labelled, labels), labels, ignored)
        hard = self.task(logits, known, texts * (labels.shape[1] if labels.dim() > 1 else 1))
        terms = {"soft": soft.detach(), "hard": hard.detach()}
        return LossResult(self.alpha * soft + (1.0 - self.alpha) * hard, terms)


def _like(flags: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return flags if labels.dim() == 1 else flags[:, None]
