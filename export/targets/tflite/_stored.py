"""Stored matrices of a TFLite file, each compared with what it should be.

A float matrix must be the original, within the rounding of what was multiplied into it. Of an int8
one every scale must be what the largest value of its row gives and every code the nearest: whatever
the quantizer did wrong would otherwise pass as coarse compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.recipes import WeightsRule
from export.targets.parameters import Floats
from runtime.sessions.litert_exact import dequantized
from runtime.sessions.litert_file import same_values

_LARGEST = 127
# In steps and relative to a scale: what rounding in float32 moves.
_STEP_ROUNDING, _SCALE_ROUNDING = 1e-4, 5e-7
# A table of embeddings is compared in parts, so that it is not held several times.
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A matrix as a file has it.

    Attributes:
        values: float32, or int8 codes, [rows, columns].
        quantization: ``QuantizationParametersT``; None for floats.
    """

    values: npt.NDArray[Any]
    quantization: Any

    def dense(self) -> Floats:
        """What the arithmetic uses, float32."""
        if self.quantization is None:
            return self.values
        return dequantized(self.quantization, self.values)

    def same(self, other: StoredMatrix) -> bool:
        """Whether two signatures of one file store it alike."""
        if not same_values(self.values, other.values):
            return False
        if self.quantization is None or other.quantization is None:
            return self.quantization is other.quantization
        return all(
            same_values(
                *(np.asarray(getattr(q, name)) for q in (self.quantization, other.quantization))
            )
            for name in ("scale", "zeroPoint")
        )

    def fault(self, expected: Floats, slack: Floats | float, rule: WeightsRule) -> str | None:
        """What is wrong with it, or None.

        Args:
            expected: values that it stands for.
            slack: how far each of them may be off before it was quantized.
            rule: of the recipe.
        """
        if self.values.shape != expected.shape:
            return f"it has the shape {list(self.values.shape)}, not {list(expected.shape)}"
        if self.quantization is None:
            if self.values.dtype != np.float32:
                return f"it is stored in {self.values.dtype}"
            # Not `>`: NaN must not pass.
            odd = ~(np.abs(self.values - expected) <= slack)
            return f"{_count(odd)} elements are not the original's" if odd.any() else None
        if self.values.dtype != np.int8:
            return f"codes are stored in {self.values.dtype}"
        return self._scales_fault(expected, rule) or self._codes_fault(expected)

    def _scales(self) -> Floats:
        return np.asarray(self.quantization.scale, dtype=np.float32).reshape(-1, 1)

    def _scales_fault(self, expected: Floats, rule: WeightsRule) -> str | None:
        quantization, scales = self.quantization, self._scales()
        if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
            return "zero points are not 0"
        if len(scales) not in (1, len(expected)) or quantization.quantizedDimension != 0:
            return f"{len(scales)} scales for {len(expected)} rows"
        most = np.maximum(expected.max(axis=1), -expected.min(axis=1))[:, None]
        most = most.max(keepdims=True) if len(scales) == 1 else most
        steps = most / np.float32(_LARGEST)
        empty = steps < np.finfo(np.float32).tiny  # any scale will do: every code is 0
        near = np.abs(scales - steps) <= _SCALE_ROUNDING * steps
        if rule.algorithm != "minmax":  # clips the largest values
            near = scales <= steps * (1 + _SCALE_ROUNDING)
        odd = ~((near | empty) & (scales > 0) & np.isfinite(scales))
        if odd.any():
            return f"{_count(odd)} scales do not follow from the largest value"
        return None

    def _codes_fault(self, expected: Floats) -> str | None:
        scales = np.broadcast_to(self._scales(), (len(expected), 1))
        wrong = 0
        for start in range(0, len(expected), _ROWS):
            part = slice(start, start + _ROWS)
            best = expected[part] / scales[part]
            np.clip(best, -_LARGEST, _LARGEST, out=best)
            best -= self.values[part]
            wrong += int(np.count_nonzero(~(np.abs(best) <= 0.5 + _STEP_ROUNDING)))
        if wrong:
            return f"{wrong} of {expected.size} codes are not the nearest"
        return None


def _count(where: npt.NDArray[np.bool_]) -> str:
    return f"{int(where.sum())} of {where.size}"
