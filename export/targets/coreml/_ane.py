"""The shape that Apple's Neural Engine is said to prefer: [batch, channels, 1, length].

The principles are those of Apple's "Deploying Transformers on the Apple Neural Engine" (2022): four
axes with the length last, 1×1 convolutions for matrix products, attention head by head. The weights
are the reference's, in another shape.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from export.families import MASKED_SCORE
from export.families.anatomy import Anatomy, Block
from export.families.plain.one_position import run_blocks
from export.targets.coreml._embeddings import AbsoluteEmbeddings
from export.targets.coreml._program import Program


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of [batch, channels, 1, length]."""

    def __init__(self, original: nn.LayerNorm) -> None:
        super().__init__()
        # Stored in the shape they are used in: the converter would rename what it reshapes.
        self.weight = nn.Parameter(original.weight[None, :, None, None], requires_grad=False)
        self.bias = nn.Parameter(original.bias[None, :, None, None], requires_grad=False)
        self.eps = original.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return centred / torch.sqrt(variance + self.eps) * self.weight + self.bias


class AneProgram(Program):
    """The Neural Engine's layout: [batch, channels, 1, length]."""

    def __init__(
        self,
        model: Any,
        activation: str | None,
        anatomy: Anatomy,
        *,
        first: int,
        length: int,
        fixed: bool,
        position: slice | None,
    ) -> None:
        """Take a transformers classifier over, whose modules are replaced in place.

        Args:
            model: of the family that `anatomy` describes; hand a copy over.
            activation: see `Program`.
            anatomy: where its parts are.
            first: row of the positions' table that the first token has.
            length: longest sequence.
            fixed: whether `length` is the only one.
            position: see `Program.narrow`.
        """
        super().__init__(model, activation, position)
        self.anatomy = anatomy
        encoder = model.base_model
        encoder.embeddings = AbsoluteEmbeddings(
            encoder.embeddings, first=first, length=length, fixed=fixed
        )
        _reshape(model)

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        return self._channels(input_ids, attention_mask).squeeze(2).transpose(1, 2)

    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See `Program`; the axes stay as they are."""
        return self._labels(self._channels(input_ids, attention_mask))

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        return self._labels(hidden.transpose(1, 2).unsqueeze(2))

    def _channels(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[batch, channels, 1, length]."""
        embeddings = self.model.base_model.embeddings
        x: torch.Tensor = embeddings.LayerNorm(embeddings(input_ids).transpose(1, 2).unsqueeze(2))
        if (project := self.anatomy.project(self.model)) is not None:
            x = project(x)
        mask = ((1.0 - attention_mask.to(x.dtype)) * MASKED_SCORE)[:, :, None, None]
        attend = partial(_attend, mask=mask, heads=self.model.config.num_attention_heads)
        narrow = partial(self.narrow, axis=3)
        return run_blocks(self.anatomy.blocks(self.model), x, attend, narrow)

    def _labels(self, channels: torch.Tensor) -> torch.Tensor:
        x = channels[:, :, :, :1]
        for step in self.anatomy.head(self.model):
            x = step(x)
        return x.squeeze(-1).squeeze(-1)


def _attend(
    block: Block,
    wanted: torch.Tensor,
    hidden: torch.Tensor,
    *,
    mask: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """Attention head by head; `mask` is additive, [batch, length of keys, 1, 1]."""
    query, key, value = block.query(wanted), block.key(hidden), block.value(hidden)
    width = query.shape[1] // heads
    queries, values = torch.split(query, width, 1), torch.split(value, width, 1)
    keys = torch.split(key.transpose(1, 3), width, 3)
    mixed = []
    for q, k, v in zip(queries, keys, values, strict=True):
        scores = torch.einsum("bchq,bkhc->bkhq", q, k) * width**-0.5 + mask
        mixed.append(torch.einsum("bkhq,bchk->bchq", scores.softmax(1), v))
    return torch.cat(mixed, 1)


def _reshape(model: nn.Module) -> None:
    """Put 1×1 convolutions and norms over channels in the places of linear layers and norms."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, _pointwise(child))
            elif isinstance(child, nn.LayerNorm):
                setattr(parent, name, _ChannelNorm(child))


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    """The 1×1 convolution that computes what `linear` does, on its very weights."""
    # On meta there is nothing to initialise, which would move torch's random numbers.
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, device="meta")
    weight = linear.weight[:, :, None, None]
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(linear.bias, requires_grad=False)
    return convolution
