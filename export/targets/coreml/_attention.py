"""Scaled dot-product attention over heads, in the converter's fewest operations."""

from __future__ import annotations

import torch
from torch import nn


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, length, heads * width] → [batch, heads, length, width]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def join_heads(x: torch.Tensor) -> torch.Tensor:
    """[batch, heads, length, width] → [batch, length, heads * width]."""
    batch, heads, length, width = x.shape
    return x.transpose(1, 2).reshape(batch, length, heads * width)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scores: torch.Tensor,
    *,
    fused: bool,
) -> torch.Tensor:
    """softmax(query·keyᵀ / √width + scores)·value.

    Args:
        query: [batch, heads, length, width].
        key: of the same shape.
        value: of the same shape.
        scores: broadcast to [batch, heads, length, length]; what keeps padding out, and more.
        fused: as one operation, which iOS 18 has.
    """
    if fused:
        # Without scale=: the converter fuses only the scale that is the default, width^-0.5.
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=scores)
    weights = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5 + scores
    return torch.matmul(weights.softmax(-1), value)
