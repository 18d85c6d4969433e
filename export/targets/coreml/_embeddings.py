"""Words, one token type and absolute positions, added up."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.targets.coreml._program import rows_of


class AbsoluteEmbeddings(nn.Module):
    """Has the rows that are needed and no others.

    One text is all token type 0, so that its row is a constant.
    """

    def __init__(self, original: Any, *, first: int, length: int, fixed: bool) -> None:
        """Take transformers' embeddings over.

        Args:
            original: has ``word_embeddings``, ``position_embeddings``, perhaps
                ``token_type_embeddings``.
            first: row of the positions' table that the first token has.
            length: longest sequence.
            fixed: whether `length` is the only one.
        """
        super().__init__()
        self.word_embeddings = original.word_embeddings
        self.position_embeddings = rows_of(original.position_embeddings, first, length)
        types = getattr(original, "token_type_embeddings", None)
        self.token_type_embeddings = None if types is None else rows_of(types, 0, 1)
        self.LayerNorm = original.LayerNorm  # transformers' name
        self.fixed = fixed

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] → [batch, length, width], without the norm."""
        return self.placed(self.word_embeddings(input_ids))

    def placed(self, words: torch.Tensor) -> torch.Tensor:
        """Add token type and positions to [batch, length, width]."""
        # One after the other: the converter would join two constants into a nameless third.
        if self.token_type_embeddings is not None:
            words = words + self.token_type_embeddings.weight
        positions = self.position_embeddings.weight
        if not self.fixed:
            positions = positions[: words.shape[1]]
        return words + positions
