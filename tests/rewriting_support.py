"""What the tests of rewritten modules share: inputs, and the same module in float64."""

from __future__ import annotations

import copy
from typing import Any

import torch

SHORTENED = ("albert", "bert", "distilbert", "electra", "roberta")


def batch(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows, padded on the right by 0, a few and all but one id."""
    random = torch.Generator().manual_seed(length)
    ids = torch.randint(3, 200, (3, length), generator=random, dtype=torch.int32)
    mask = torch.ones_like(ids)
    mask[1, length - length // 3 :] = 0
    mask[2, 1:] = 0
    return ids, mask


def double(module: Any) -> Any:
    """A copy in float64; its own attention adds a float32 mask, which SDPA would refuse."""
    out = copy.deepcopy(module).double()
    out.model.set_attn_implementation("eager")
    return out
