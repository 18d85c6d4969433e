"""Settings of the optimiser that suit a student, where the user names none."""

from __future__ import annotations

from typing import Any

from export.settings import (
    FROM_SCRATCH,
    FULL,
    FULL_FROM_SCRATCH,
    PRETRAINED,
    SMALL,
    Hyperparameters,
)
from export.training.distill.settings import GENERAL, DistillSettings

# Narrow models want larger steps: Turc et al. (arXiv 1908.08962) tuned 5e-4 to 3e-5 over widths of
# 128 to 768.
_NARROW = 384


def suitable(settings: DistillSettings, teacher: Any) -> Hyperparameters:
    """By kind, and by whether the student is small or taken from a narrow teacher.

    Args:
        settings: which student, and what for.
        teacher: its configuration.
    """
    if settings.kind == "general":
        return GENERAL
    if settings.student == FULL:
        return FULL_FROM_SCRATCH
    small = settings.student.split(":")[0] == SMALL
    narrow = settings.is_from_teacher and teacher.hidden_size < _NARROW
    return FROM_SCRATCH if small or narrow else PRETRAINED
