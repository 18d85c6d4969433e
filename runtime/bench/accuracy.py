"""Parity figures of whatever was timed, from logits of this very run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.golden import Golden
from runtime.manifest import TaskSpec
from runtime.parity.agreement import agreement
from runtime.parity.metrics import one_hot, tensor_figures
from runtime.parity.vectors import vector_agreement

Logits = npt.NDArray[np.float32]

# What the table shows; the JSON has all of them.
SHOWN = ("flips", "flip_rate_bound", "max_rel", "sqnr_db", "metric_drop")


def parity_figures(golden: Golden, logits: Logits, task: TaskSpec) -> dict[str, float]:
    """Figures of `runtime.parity` that logits alone give; NaN where logits are not finite.

    Args:
        golden: cases with PyTorch's float32 logits.
        logits: the contestant's, float32 [cases, labels].
        task: the bundle's.

    Returns:
        Figure → value, named as in `runtime.parity.gates.FIGURES`.
    """
    figures = tensor_figures(golden.reference, logits)
    if task.gives_vectors:
        return figures | vector_agreement(golden.reference, logits, golden.cases).figures
    targets = one_hot([case.targets or () for case in golden.cases], len(task.labels))
    sets = tuple(case.set for case in golden.cases)
    return figures | agreement(golden.reference, logits, sets, targets, task).figures


def sequences_of(golden: Golden) -> list[list[int]]:
    """Ids of every case, as a worker reads them."""
    return [list(case.input_ids) for case in golden.cases]


def as_logits(rows: Sequence[Sequence[float]], golden: Golden) -> Logits:
    """A worker's answer as an array.

    Raises:
        ValueError: not as many rows or columns as the reference has.
    """
    found = np.array(rows, dtype=np.float32)
    if found.shape != golden.reference.shape:
        raise ValueError(f"logits of the shape {found.shape} instead of {golden.reference.shape}")
    return found
