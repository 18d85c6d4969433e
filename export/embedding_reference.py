"""The truth for artifacts that give sentence vectors: encoder and pooling as one module."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from export.families import family_of_model
from export.pooling import EmbeddingSettings, pooled
from export.reference import Reference, frozen

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUT = "embedding"


class Headless(torch.nn.Module):
    """A classifier without its head; every weight keeps the name that it has there.

    Attributes:
        config: the encoder's.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Share the encoder's weights; a pooler, which is part of the head, is left out."""
        super().__init__()
        shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
        encoder = copy.deepcopy(model.base_model, shared)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self._root = family_of_model(model).root
        self.config: Any = encoder.config
        self.add_module(self._root, encoder)

    @property
    def base_model(self) -> Any:
        """The encoder, by transformers' name for it."""
        return self.get_submodule(self._root)

    def set_attn_implementation(self, name: str) -> None:
        """As `PreTrainedModel`'s."""
        self.base_model.set_attn_implementation(name)


class VectorsOnly(torch.nn.Module):
    """An encoder reduced to (input_ids, attention_mask) → sentence vectors."""

    def __init__(self, model: Headless, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.model = model
        self.family = family_of_model(model)
        self.settings = settings

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Sentence vectors.

        Args:
            input_ids: int32 [batch, length].
            attention_mask: int32 [batch, length], 1 for a token, 0 for padding, which is on the
                family's side.

        Returns:
            float32 [batch, dim].
        """
        hidden = self.family.hidden(self.model, input_ids, attention_mask)
        return self.pool(hidden, attention_mask)

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The last layer's hidden state [batch, length, dim] as sentence vectors [batch, dim]."""
        position = self.family.pooled_position
        return pooled(hidden, attention_mask, self.settings, pooled_position=position)

    def around(self, model: Headless) -> VectorsOnly:
        """The same of another model."""
        module = VectorsOnly(model, self.settings)
        module.family = self.family
        return module


def reference_of_vectors(model: PreTrainedModel, settings: EmbeddingSettings) -> Reference:
    """Freeze a model's encoder with its pooling as the reference; the head plays no part."""
    module = VectorsOnly(Headless(model), settings)
    return frozen(module, width=_width(module, model.config), output=OUTPUT)


def _width(module: VectorsOnly, config: Any) -> int:
    """Numbers in a vector; families name it hidden_size, dim or d_model, so it is asked for."""
    ids = torch.full((1, 2), int(getattr(config, "pad_token_id", 0) or 0), dtype=torch.int32)
    with torch.inference_mode():
        return int(module.eval()(ids, torch.ones_like(ids)).shape[-1])
