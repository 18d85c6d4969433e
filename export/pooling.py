"""How the hidden states of a text become one sentence vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """How hidden states become one vector.

    Attributes:
        pooling: ``mean`` of all tokens, special ones included, as sentence-transformers does it
            (its `Pooling` module in the mode ``mean``); or ``cls``, the position that the family's
            classifier reads: the first one, for XLNet the last one.
        normalize: vectors of length 1, so that a dot product is the cosine.
        max_length: longest sequence in ids, special tokens included; longer texts are cut.
    """

    pooling: Pooling = "mean"
    normalize: bool = True
    max_length: int = 128


def pooled(
    hidden: torch.Tensor,
    attention_mask: torch.Tensor,
    settings: EmbeddingSettings,
    *,
    pooled_position: int = 0,
) -> torch.Tensor:
    """Pool hidden states.

    Args:
        hidden: float [batch, length, dim], of the last layer.
        attention_mask: [batch, length], 1 for a token, 0 for padding; at least one 1 in each row.
        settings: pooling and normalisation.
        pooled_position: that ``cls`` takes: 0 is the first, -1 the last one.

    Returns:
        float [batch, dim].
    """
    if settings.pooling == "cls":
        vectors = hidden[:, pooled_position]
    else:
        mask = attention_mask[:, :, None].to(hidden.dtype)
        vectors = (hidden * mask).sum(1) / mask.sum(1)
    return unit(vectors) if settings.normalize else vectors


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Float [batch, dim] → the same with length 1; a vector of zeros stays one."""
    import torch

    # In plain operations, which every converter knows.
    squares = (vectors * vectors).sum(-1, keepdim=True)
    return vectors / torch.sqrt(squares + torch.finfo(vectors.dtype).tiny)
