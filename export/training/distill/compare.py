"""How a student compares with its teacher: right answers, the same answers, size and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.families import family_of_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Texts of a timing, and how often each goes through the model.
_TIMED_TEXTS, _ROUNDS = 20, 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of one split.

    Attributes:
        split: which one.
        texts: how many.
        metric: name of the main metric.
        teacher, student: its values.
        agreement: share of texts with the same label; multi-label: of decisions that are the same.
        teacher_parameters, student_parameters: how many numbers each holds.
        teacher_bytes, student_bytes: of the weights in float32.
        teacher_ms, student_ms: median milliseconds per text, one text at a time, in PyTorch on this
            machine's CPU, both in turn on the same texts.
    """

    split: str
    texts: int
    metric: str
    teacher: float
    student: float
    agreement: float
    teacher_parameters: int
    student_parameters: int
    teacher_bytes: int
    student_bytes: int
    teacher_ms: float
    student_ms: float

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return asdict(self)


def agreement(
    teacher: npt.NDArray[np.float32], student: npt.NDArray[np.float32], *, multi_label: bool
) -> float:
    """Share of equal answers of two sets of logits [texts, labels]."""
    if multi_label:
        return float(((teacher >= 0.0) == (student >= 0.0)).mean())
    return float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes of all parameters as they are; tied ones once."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


@torch.inference_mode()
def milliseconds(
    models: Sequence[PreTrainedModel], sequences: Sequence[Sequence[int]]
) -> list[float]:
    """Median time of one text through each model, the models in turn.

    Args:
        models: in eval mode, on the CPU.
        sequences: ids; the first `_TIMED_TEXTS` are timed.
    """
    times: list[list[float]] = [[] for _ in models]
    families = [family_of_model(model) for model in models]
    for turn in range(_ROUNDS + 1):
        for ids in sequences[:_TIMED_TEXTS]:
            batch = torch.tensor([ids])
            for model, family, mine in zip(models, families, times, strict=True):
                began = time.perf_counter()
                family.logits(model, batch, torch.ones_like(batch))
                if turn:  # the first round warms up
                    mine.append(1000 * (time.perf_counter() - began))
    return [statistics.median(mine) for mine in times]
