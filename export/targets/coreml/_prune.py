"""Which elements a sparse weight keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def largest(weight: npt.NDArray[Any], sparsity: float) -> npt.NDArray[np.bool_]:
    """True for what is kept: all but the share `sparsity` of smallest magnitude.

    Exactly round(sparsity * size) elements are dropped; of equal magnitudes the first ones in
    memory order.
    """
    magnitude = np.abs(weight).reshape(-1)
    drop = round(sparsity * magnitude.size)
    kept = np.ones(magnitude.size, dtype=np.bool_)
    if drop:
        limit = np.partition(magnitude, drop - 1)[drop - 1]
        kept = magnitude > limit
        ties = np.flatnonzero(magnitude == limit)
        spare = drop - int(np.count_nonzero(magnitude < limit))
        kept[ties[spare:]] = True
    return kept.reshape(weight.shape)
