"""DistilBERT in the words that the converter turns into fewest operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.reference import MASKED_SCORE
from export.targets.coreml._program import Program, first_positions


class _Embeddings(nn.Module):
    """Has the positions that are needed and no others."""

    def __init__(self, original: Any, *, length: int, fixed: bool) -> None:
        super().__init__()
        self.word_embeddings = original.word_embeddings
        self.position_embeddings = first_positions(original.position_embeddings, length)
        self.LayerNorm = original.LayerNorm  # transformers' name
        self.fixed = fixed

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        positions = self.position_embeddings.weight
        if not self.fixed:
            positions = positions[: input_ids.shape[1]]
        embedded: torch.Tensor = self.LayerNorm(self.word_embeddings(input_ids) + positions)
        return embedded


class _Attention(nn.Module):
    def __init__(self, original: Any, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.q_lin, self.k_lin = original.q_lin, original.k_lin
        self.v_lin, self.out_lin = original.v_lin, original.out_lin
        self.heads = heads
        self.width = original.q_lin.out_features // heads
        self.fused = fused

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`mask` is additive, [batch, 1, 1, length of keys]."""
        q, k, v = (self._split(project(x)) for project in (self.q_lin, self.k_lin, self.v_lin))
        if self.fused:
            # Without scale=: the converter fuses only the scale that is the default, width^-0.5.
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = torch.matmul(q, k.transpose(2, 3)) * self.width**-0.5 + mask
            mixed = torch.matmul(scores.softmax(-1), v)
        joined = mixed.transpose(1, 2).reshape(*x.shape[:2], self.heads * self.width)
        out: torch.Tensor = self.out_lin(joined)
        return out

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], self.heads, self.width).transpose(1, 2)


class _Block(nn.Module):
    def __init__(self, original: Any, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.attention = _Attention(original.attention, heads, fused=fused)
        self.sa_layer_norm = original.sa_layer_norm
        self.ffn = original.ffn
        self.output_layer_norm = original.output_layer_norm

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.sa_layer_norm(self.attention(x, mask) + x)
        inner = self.ffn.activation(self.ffn.lin1(x))
        out: torch.Tensor = self.output_layer_norm(self.ffn.lin2(inner) + x)
        return out


class DefaultProgram(Program):
    """transformers' own layout: [batch, length, channels]."""

    def __init__(
        self, model: Any, activation: str | None, *, length: int, fixed: bool, fused: bool
    ) -> None:
        """Take a transformers classifier over, whose modules are replaced in place.

        Args:
            model: ``DistilBertForSequenceClassification``; hand a copy over.
            activation: see `Program`.
            length: longest sequence.
            fixed: whether `length` is the only one.
            fused: attention as one operation.
        """
        super().__init__(model, activation)
        bert = model.distilbert
        heads = model.config.n_heads
        bert.embeddings = _Embeddings(bert.embeddings, length=length, fixed=fixed)
        bert.transformer.layer = nn.ModuleList(
            _Block(block, heads, fused=fused) for block in bert.transformer.layer
        )

    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] twice → [batch, labels]."""
        bert = self.model.distilbert
        x = bert.embeddings(input_ids)
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * MASKED_SCORE
        for block in bert.transformer.layer:
            x = block(x, mask)
        logits: torch.Tensor = self.model.classifier(torch.relu(self.model.pre_classifier(x[:, 0])))
        return logits
