"""onnxruntime: integer products, whose input is rounded as one tensor."""

from __future__ import annotations

import torch

from export.recipes import WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS, ONNX_SMALLEST_AXIS
from export.training.quantized.activations import per_text
from export.training.quantized.runtimes import Rounding

TARGET = "onnx"


def is_stored(shape: tuple[int, int], kind: str) -> bool:
    """See `Arithmetic.is_stored`."""
    del kind
    return min(shape) >= ONNX_SMALLEST_AXIS or shape[0] * shape[1] >= LARGE_WEIGHT_ELEMENTS


def rounding(rule: WeightsRule) -> Rounding | None:
    """See `Arithmetic.rounding`."""
    return None if rule.precision.startswith("float") else _as_one_tensor


def _as_one_tensor(values: torch.Tensor, counts: torch.Tensor | None) -> torch.Tensor:
    fits = counts is not None and values.dim() == 3 and values.shape[1] == counts.shape[1]
    return per_text(values, counts if fits else None)
