"""Rows of a split → the truth as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from export.data.task import Example
from runtime.parity.metrics import one_hot


def label_matrix(rows: Sequence[Example], labels: int) -> npt.NDArray[np.bool_]:
    """Bool [rows, labels]."""
    return one_hot([row.labels for row in rows], labels)
