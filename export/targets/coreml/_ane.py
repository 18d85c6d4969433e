"""DistilBERT in the shape Apple's Neural Engine is said to prefer: [batch, channels, 1, length].

The principles are those of Apple's "Deploying Transformers on the Apple Neural Engine" (2022): four
axes with the length last, 1×1 convolutions for matrix products, attention head by head. The weights
are the reference's, in another shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.reference import MASKED_SCORE
from export.targets.coreml._program import Program, first_positions


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


class _Embeddings(nn.Module):
    def __init__(self, original: Any, *, length: int, fixed: bool) -> None:
        super().__init__()
        self.word_embeddings = original.word_embeddings
        self.position_embeddings = first_positions(original.position_embeddings, length)
        self.LayerNorm = _ChannelNorm(original.LayerNorm)  # transformers' name
        self.fixed = fixed

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        positions = self.position_embeddings.weight
        if not self.fixed:
            positions = positions[: input_ids.shape[1]]
        embedded = self.word_embeddings(input_ids) + positions
        normed: torch.Tensor = self.LayerNorm(embedded.transpose(1, 2).unsqueeze(2))
        return normed


class _Attention(nn.Module):
    def __init__(self, original: Any, heads: int) -> None:
        super().__init__()
        self.q_lin, self.k_lin = _pointwise(original.q_lin), _pointwise(original.k_lin)
        self.v_lin, self.out_lin = _pointwise(original.v_lin), _pointwise(original.out_lin)
        self.width = original.q_lin.out_features // heads

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`mask` is additive, [batch, length of keys, 1, 1]."""
        queries = self.q_lin(x).split(self.width, 1)
        keys = self.k_lin(x).transpose(1, 3).split(self.width, 3)
        values = self.v_lin(x).split(self.width, 1)
        heads = []
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = torch.einsum("bchq,bkhc->bkhq", query, key) * self.width**-0.5 + mask
            heads.append(torch.einsum("bkhq,bchk->bchq", scores.softmax(1), value))
        out: torch.Tensor = self.out_lin(torch.cat(heads, 1))
        return out


class _FeedForward(nn.Module):
    def __init__(self, original: Any) -> None:
        super().__init__()
        self.lin1, self.lin2 = _pointwise(original.lin1), _pointwise(original.lin2)
        self.activation = original.activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.lin2(self.activation(self.lin1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, original: Any, heads: int) -> None:
        super().__init__()
        self.attention = _Attention(original.attention, heads)
        self.sa_layer_norm = _ChannelNorm(original.sa_layer_norm)
        self.ffn = _FeedForward(original.ffn)
        self.output_layer_norm = _ChannelNorm(original.output_layer_norm)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.sa_layer_norm(self.attention(x, mask) + x)
        out: torch.Tensor = self.output_layer_norm(self.ffn(x) + x)
        return out


class AneProgram(Program):
    """The Neural Engine's layout: [batch, channels, 1, length]."""

    def __init__(self, model: Any, activation: str | None, *, length: int, fixed: bool) -> None:
        """Take a transformers classifier over, whose modules are replaced in place.

        Args:
            model: ``DistilBertForSequenceClassification``; hand a copy over.
            activation: see `Program`.
            length: longest sequence.
            fixed: whether `length` is the only one.
        """
        super().__init__(model, activation)
        bert = model.distilbert
        bert.embeddings = _Embeddings(bert.embeddings, length=length, fixed=fixed)
        heads = model.config.n_heads
        bert.transformer.layer = nn.ModuleList(_Block(b, heads) for b in bert.transformer.layer)
        model.pre_classifier = _pointwise(model.pre_classifier)
        model.classifier = _pointwise(model.classifier)

    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] twice → [batch, labels]."""
        bert = self.model.distilbert
        x = bert.embeddings(input_ids)
        mask = (1.0 - attention_mask.to(x.dtype)) * MASKED_SCORE
        for block in bert.transformer.layer:
            x = block(x, mask[:, :, None, None])
        first = torch.relu(self.model.pre_classifier(x[:, :, :, :1]))
        logits: torch.Tensor = self.model.classifier(first).squeeze(-1).squeeze(-1)
        return logits


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    """The 1×1 convolution that computes what `linear` does, on its very weights."""
    # On meta there is nothing to initialise, which would move torch's random numbers.
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, device="meta")
    weight = linear.weight[:, :, None, None]
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(linear.bias, requires_grad=False)
    return convolution
