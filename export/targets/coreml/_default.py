"""BERT and its descendants in the words that the converter turns into fewest operations."""

from __future__ import annotations

from typing import Any

import torch

from export.families.anatomy import Anatomy, Block
from export.targets.coreml._attention import attend, join_heads, split_heads
from export.targets.coreml._embeddings import AbsoluteEmbeddings
from export.targets.coreml._program import Program, padding_scores


class DefaultProgram(Program):
    """transformers' own layout: [batch, length, channels]."""

    def __init__(
        self,
        model: Any,
        activation: str | None,
        anatomy: Anatomy,
        *,
        first: int,
        length: int,
        fixed: bool,
        fused: bool,
    ) -> None:
        """Take a transformers classifier over, whose modules are replaced in place.

        Args:
            model: of the family that `anatomy` describes; hand a copy over.
            activation: see `Program`.
            anatomy: where its parts are.
            first: row of the positions' table that the first token has.
            length: longest sequence.
            fixed: whether `length` is the only one.
            fused: attention as one operation.
        """
        super().__init__(model, activation)
        self.anatomy = anatomy
        self.fused = fused
        encoder = model.base_model
        encoder.embeddings = AbsoluteEmbeddings(
            encoder.embeddings, first=first, length=length, fixed=fixed
        )

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        embeddings = self.model.base_model.embeddings
        x: torch.Tensor = embeddings.LayerNorm(embeddings(input_ids))
        if (project := self.anatomy.project(self.model)) is not None:
            x = project(x)
        scores = padding_scores(attention_mask, x.dtype)
        for block in self.anatomy.blocks(self.model):
            x = self._block(x, scores, block)
        return x

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        x = hidden[:, 0]
        for step in self.anatomy.head(self.model):
            x = step(x)
        return x

    def _block(self, x: torch.Tensor, scores: torch.Tensor, block: Block) -> torch.Tensor:
        heads = self.model.config.num_attention_heads
        q, k, v = (
            split_heads(project(x), heads) for project in (block.query, block.key, block.value)
        )
        mixed = join_heads(attend(q, k, v, scores, fused=self.fused))
        x = block.attention_norm(block.out(mixed) + x)
        out: torch.Tensor = block.output_norm(block.outer(block.activation(block.inner(x))) + x)
        return out
