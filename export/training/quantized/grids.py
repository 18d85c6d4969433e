"""Weights on a recipe's grid, in torch: the numbers of `export.rounding.grid`, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from export.recipes import WeightsRule
from export.rounding.grid import blocks_of, largest_code, scales_of
from runtime.errors import UserError


def dense_of(weight: torch.Tensor, rule: WeightsRule, name: str = "a weight") -> torch.Tensor:
    """What a weight is once it is stored: ``grid_of(weight, rule).dense()``.

    The scales, a number for each block, are `export.rounding`'s own. Codes, of which there is one
    for each element and which every training step makes anew, are made here, where the weight is.

    Args:
        weight: float32 [rows, columns], on any device.
        rule: of int8 or int4.
        name: for messages.

    Raises:
        UserError: the rule has no grid, its blocks do not fit, or a number is not finite.
    """
    largest = largest_code(rule)
    rows, columns = weight.shape
    blocks = blocks_of(np.broadcast_to(np.float32(0), (rows, columns)), rule, name)
    parts = weight.detach().reshape(rows, blocks, columns // blocks)
    peaks = torch.maximum(parts.amax(dim=2), -parts.amin(dim=2))
    if rule.granularity == "tensor":
        peaks = peaks.max().expand_as(peaks)
    stored = scales_of(peaks.cpu().numpy(), rule)
    scales = torch.from_numpy(stored).to(weight.device)[:, :, None]
    if not (torch.isfinite(peaks).all() and torch.isfinite(scales * largest).all()):
        raise UserError(
            f"{name} holds numbers that its recipe cannot store",
            why="they are not finite, or their scale would not be",
            todo="train again with a lower learning rate",
        )
    codes = (parts / scales).round_().clamp_(-largest, largest)
    # Adding 0 makes -0, which no integer has, a plain 0.
    return codes.mul_(scales).add_(0.0).reshape(rows, columns)


class _Through(torch.autograd.Function):
    """Rounds on the way forth and lets gradients pass on the way back.

    The straight-through estimator (Bengio et al., arXiv 1308.3432). Nothing is cut off on the way:
    a scale is the largest magnitude's, so each element gets its gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ARG004
        weight: torch.Tensor,
        rule: WeightsRule,
        name: str,
    ) -> torch.Tensor:
        return dense_of(weight, rule, name)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # noqa: ARG004
        return gradients[0], None, None


def rounded(weight: torch.Tensor, rule: WeightsRule, name: str = "a weight") -> torch.Tensor:
    """`dense_of`, through which gradients pass as if nothing had been rounded."""
    out: torch.Tensor = _Through.apply(weight, rule, name)  # type: ignore[no-untyped-call]
    return out
