"""What both layouts share: the outputs, and the parameters' places."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn


class Program(nn.Module, ABC):
    """Computes what `export.reference.LogitsOnly` does, in other words.

    Attributes:
        model: its modules have the places that transformers gives them, so that a constant of the
            converted program is called after the parameter it holds.
        activation: None for logits alone; ``softmax`` or ``sigmoid`` for a classifier.
    """

    def __init__(self, model: Any, activation: str | None) -> None:
        super().__init__()
        self.model = model
        self.activation = activation

    @abstractmethod
    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Int32 [batch, length] twice → [batch, labels]."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Int32 [batch, length] twice → logits; (probabilities, logits) of a classifier."""
        logits = self.logits(input_ids, attention_mask)
        if self.activation is None:
            return logits
        return logits.softmax(-1) if self.activation == "softmax" else logits.sigmoid(), logits


def first_positions(table: nn.Embedding, length: int) -> nn.Embedding:
    """The first rows of a table of position embeddings, on the same memory."""
    first = nn.Embedding(length, table.embedding_dim, device="meta")
    first.weight = nn.Parameter(table.weight[:length], requires_grad=False)
    return first


def copy_sharing_parameters(model: Any) -> Any:
    """A copy whose modules may be replaced, on the original's parameters: do not write to them."""
    shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
