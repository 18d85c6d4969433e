"""Stored matrices of a TFLite file, each compared with what it should be.

A float matrix must be the original, within the rounding of what was multiplied into it. Of one in
codes every scale must be what the largest value of its row or block gives and every code the
nearest: whatever the quantizer did wrong would otherwise pass as coarse compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from export.recipes import WeightsRule
from export.targets.parameters import Floats
from export.targets.tflite._empty import SMALLEST_BLOCK_SCALE
from runtime.sessions.litert_file import same_values, values_of
from runtime.sessions.litert_weights import (
    block_scales,
    codes_of,
    is_blockwise,
    is_known,
    scale_count,
)

_LARGEST = {"int8": 127, "int4": 7}
# In steps and relative to a scale: what rounding in float32 moves.
_STEP_ROUNDING, _SCALE_ROUNDING = 1e-4, 5e-7
# A table of embeddings is compared in parts, so that it is not held several times.
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A matrix as a file has it.

    Attributes:
        values: float32, or int8 codes, [rows, columns].
        scales: float32 [rows or 1, blocks]; None for floats.
    """

    values: npt.NDArray[Any]
    scales: Floats | None = None

    def dense(self) -> Floats:
        """What the arithmetic uses, float32."""
        if self.scales is None:
            return self.values
        parts = self._in_blocks(self.values).astype(np.float32)
        parts *= self.scales[:, :, None]
        return parts.reshape(self.values.shape)

    def same(self, other: StoredMatrix) -> bool:
        """Whether two signatures of one file store it alike."""
        if self.scales is None or other.scales is None:
            return self.scales is other.scales and same_values(self.values, other.values)
        return same_values(self.scales, other.scales) and same_values(self.values, other.values)

    def fault(self, expected: Floats, slack: Floats | float, rule: WeightsRule) -> str | None:
        """What is wrong with it, or None.

        Args:
            expected: values that it stands for.
            slack: how far each of them may be off before it was quantized.
            rule: that it follows.
        """
        if self.values.shape != expected.shape:
            return f"it has the shape {list(self.values.shape)}, not {list(expected.shape)}"
        if self.scales is None:
            if self.values.dtype != np.float32:
                return f"it is stored in {self.values.dtype}"
            # Not `>`: NaN must not pass.
            odd = ~(np.abs(self.values - expected) <= slack)
            return f"{_count(odd)} elements are not the original's" if odd.any() else None
        if rule.precision not in _LARGEST:
            return f"it is stored in codes, not in {rule.precision}"
        return self._scales_fault(expected, rule) or self._codes_fault(expected, rule)

    def _in_blocks(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[rows, blocks, columns of a block], a view."""
        if self.scales is None:
            raise ValueError("floats have no blocks")
        blocks = self.scales.shape[1]
        return values.reshape(len(values), blocks, values.shape[1] // blocks)

    def _scales_fault(self, expected: Floats, rule: WeightsRule) -> str | None:
        scales = self.scales
        if scales is None or len(scales) not in (1, len(expected)):
            return f"{0 if scales is None else len(scales)} scales for {len(expected)} rows"
        parts = self._in_blocks(expected)
        most = np.maximum(parts.max(axis=2), -parts.min(axis=2))
        most = most.max(keepdims=True) if scales.size == 1 else most
        steps = most / np.float32(_LARGEST[rule.precision])
        low, high = steps * (1 - _SCALE_ROUNDING), steps * (1 + _SCALE_ROUNDING)
        empty = steps < np.finfo(np.float32).tiny  # any scale will do: every code is 0
        if rule.granularity == "block":
            low, high = _as_block_scale(low), _as_block_scale(high)
            empty = (low < SMALLEST_BLOCK_SCALE) & (scales == 1)
        if rule.algorithm == "octav":  # clips the largest values
            low = np.zeros_like(low)
        near = (low <= scales) & (scales <= high)
        odd = ~((near | empty) & (scales > 0) & np.isfinite(scales))
        if odd.any():
            return f"{_count(odd)} scales do not follow from the largest value"
        return None

    def _codes_fault(self, expected: Floats, rule: WeightsRule) -> str | None:
        if self.scales is None:
            return None
        scales = np.broadcast_to(self.scales, (len(expected), self.scales.shape[1]))
        largest = _LARGEST[rule.precision]
        # Where values are clipped, the quantizer uses int4's -8 as well.
        smallest = -8 if (rule.precision, rule.algorithm) == ("int4", "octav") else -largest
        wrong = 0
        for start in range(0, len(expected), _ROWS):
            part = slice(start, start + _ROWS)
            best = self._in_blocks(expected[part]) / scales[part][:, :, None]
            np.clip(best, smallest, largest, out=best)
            best -= self._in_blocks(self.values[part])
            wrong += int(np.count_nonzero(~(np.abs(best) <= 0.5 + _STEP_ROUNDING)))
        if wrong:
            return f"{wrong} of {expected.size} codes are not the nearest"
        return None


def stored_matrix(model: Any, graph: Any, tensor: Any) -> StoredMatrix | str | None:
    """A matrix of a file; None if it is computed, and what is wrong if it cannot be read."""
    values = values_of(model, tensor)
    quantized = tensor.quantization is not None and (
        scale_count(model, graph, tensor) > 0 or tensor.quantization.details is not None
    )
    if values is None or not quantized:
        return None if values is None else StoredMatrix(values)
    codes = codes_of(model, tensor)
    if codes is None or codes.ndim != 2 or not is_known(model, graph, tensor):
        return "its codes or scales are not known here, or do not fit its shape"
    if is_blockwise(tensor):
        scales = block_scales(model, graph, tensor)
        return StoredMatrix(codes, None if scales is None else scales.astype(np.float32))
    quantization = tensor.quantization
    if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
        return "zero points are not 0"
    if quantization.quantizedDimension != 0:
        return "its scales are not for rows"
    return StoredMatrix(codes, np.asarray(quantization.scale, dtype=np.float32).reshape(-1, 1))


def _as_block_scale(scales: Floats) -> Floats:
    """Scales as LiteRT has them for blocks: bfloat16, kept in float16."""
    rounded: Floats = scales.astype(ml_dtypes.bfloat16).astype(np.float16).astype(np.float32)
    return rounded


def _count(where: npt.NDArray[np.bool_]) -> str:
    return f"{int(where.sum())} of {where.size}"
