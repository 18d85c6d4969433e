"""LiteRT with XNNPACK: integer products, each row of whose input is rounded by itself."""

from __future__ import annotations

import torch

from export.recipes import WeightsRule
from export.training.quantized.activations import per_token
from export.training.quantized.runtimes import Rounding

TARGET = "tflite"

# A table of token types is one constant row in the file (`export.targets.tflite._positions`).
_SMALLEST_TABLE = 16


def is_stored(shape: tuple[int, int], kind: str) -> bool:
    """See `Arithmetic.is_stored`."""
    return kind == "linear" or shape[0] >= _SMALLEST_TABLE


def rounding(rule: WeightsRule) -> Rounding | None:
    """See `Arithmetic.rounding`."""
    return None if rule.precision.startswith("float") else _row_by_row


def _row_by_row(values: torch.Tensor, counts: torch.Tensor | None) -> torch.Tensor:
    del counts  # padding has rows of its own
    return per_token(values)
