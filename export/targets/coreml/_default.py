"""BERT and its descendants in the words that the converter turns into fewest operations."""

from __future__ import annotations

from typing import Any

import torch

from export.families.anatomy import Anatomy, Block
from export.families.plain.one_position import run_blocks
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
        position: slice | None,
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
            position: see `Program.narrow`.
            fused: attention as one operation.
        """
        super().__init__(model, activation, position)
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

        def attend_heads(block: Block, wanted: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
            heads = self.model.config.num_attention_heads
            read = block.query(wanted), block.key(hidden), block.value(hidden)
            query, key, value = (split_heads(tensor, heads) for tensor in read)
            return join_heads(attend(query, key, value, scores, fused=self.fused))

        return run_blocks(self.anatomy.blocks(self.model), x, attend_heads, self.narrow)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        x = hidden[:, 0]
        for step in self.anatomy.head(self.model):
            x = step(x)
        return x
