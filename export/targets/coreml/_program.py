"""What every module has that is put to Core ML's converter: outputs, and the parameters' places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from export.families import MASKED_SCORE

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Program(nn.Module, ABC):
    """Computes what a reference does, in other words.

    Attributes:
        model: its modules have the places that transformers gives them, so that a constant of the
            converted program is called after the parameter it holds. Buffers are constants that
            transformers has no parameter for; they are called after their places as well.
        activation: None for logits alone; ``softmax`` or ``sigmoid`` for a classifier.
        position: of the last hidden states, where one alone is read; None for all of them. Keys and
            values are of all positions nevertheless: the other way to write attention, which
            `export.families.plain.one_position` has, was timed with other runtimes alone.
        pool: (hidden states, attention mask) → vectors, where those are wanted and not logits.
    """

    pool: Pool | None = None

    def __init__(self, model: Any, activation: str | None, position: slice | None = None) -> None:
        super().__init__()
        self.model = model
        self.activation = activation
        self.position = position

    def narrow(self, hidden: torch.Tensor, axis: int = 1) -> torch.Tensor:
        """Hidden states before the last block → those whose output `head` or `pool` reads."""
        if self.position is None:
            return hidden
        return hidden[(slice(None),) * axis + (self.position,)]

    @abstractmethod
    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] twice → the last hidden states that are read.

        Returns:
            [batch, length, width], or [batch, 1, width] where one position is.
        """

    @abstractmethod
    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states → [batch, labels]."""

    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] twice → [batch, labels]."""
        return self.head(self.hidden(input_ids, attention_mask))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Int32 [batch, length] twice → logits or vectors; (probabilities, logits) if wanted."""
        if self.pool is not None:
            return self.pool(self.hidden(input_ids, attention_mask), attention_mask)
        logits = self.logits(input_ids, attention_mask)
        if self.activation is None:
            return logits
        return logits.softmax(-1) if self.activation == "softmax" else logits.sigmoid(), logits


def rows_of(table: nn.Embedding, first: int, count: int) -> nn.Embedding:
    """Some rows of a table of embeddings, on the same memory."""
    # On meta there is nothing to initialise, which would move torch's random numbers.
    rows = nn.Embedding(count, table.embedding_dim, device="meta")
    rows.weight = nn.Parameter(table.weight[first : first + count], requires_grad=False)
    return rows


def padding_scores(attention_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[batch, length] of 1 and 0 → [batch, 1, 1, length], to be added to the scores."""
    return (1.0 - attention_mask[:, None, None, :].to(dtype)) * MASKED_SCORE
