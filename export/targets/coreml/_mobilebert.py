"""MobileBERT: trigrams of narrow embeddings, bottlenecks, and norms that only scale and shift."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.targets.coreml._attention import attend, join_heads, split_heads
from export.targets.coreml._embeddings import AbsoluteEmbeddings
from export.targets.coreml._program import Program, padding_scores


class MobileBertProgram(Program):
    """[batch, length, channels]; what is plain already is transformers' own forward."""

    def __init__(
        self,
        model: Any,
        activation: str | None,
        *,
        first: int,
        length: int,
        fixed: bool,
        fused: bool,
    ) -> None:
        """Take a transformers classifier over, whose modules are replaced in place.

        Args:
            model: ``MobileBertForSequenceClassification``; hand a copy over.
            activation: see `Program`.
            first: row of the positions' table that the first token has.
            length: longest sequence.
            fixed: whether `length` is the only one.
            fused: attention as one operation.
        """
        super().__init__(model, activation)
        self.fused = fused
        encoder, original = model.mobilebert, model.mobilebert.embeddings
        encoder.embeddings = AbsoluteEmbeddings(original, first=first, length=length, fixed=fixed)
        if transforms_embeddings(model.config):
            encoder.embeddings.embedding_transformation = original.embedding_transformation

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        x = self._embedded(input_ids, attention_mask)
        scores = padding_scores(attention_mask, x.dtype)
        for layer in self.model.mobilebert.encoder.layer:
            x = self._layer(x, scores, layer)
        return x

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        x = hidden[:, 0]
        if self.model.config.classifier_activation:
            x = torch.tanh(self.model.mobilebert.pooler.dense(x))
        logits: torch.Tensor = self.model.classifier(x)
        return logits

    def _embedded(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embeddings = self.model.mobilebert.embeddings
        x = embeddings.word_embeddings(input_ids)
        # As the reference: padding has no embedding, so that the last token has no neighbour.
        x = x * attention_mask[:, :, None].to(x.dtype)
        if self.model.config.trigram_input:
            around = nn.functional.pad(x, (0, 0, 1, 1))
            x = torch.cat([around[:, 2:], x, around[:, :-2]], dim=2)
        if transforms_embeddings(self.model.config):
            x = embeddings.embedding_transformation(x)
        normed: torch.Tensor = embeddings.LayerNorm(embeddings.placed(x))
        return normed

    def _layer(self, x: torch.Tensor, scores: torch.Tensor, layer: Any) -> torch.Tensor:
        sources = layer.bottleneck(x) if layer.use_bottleneck else (x,) * 4
        *sources, residual = sources
        attention = layer.attention.self
        projects = (attention.query, attention.key, attention.value)
        q, k, v = (
            split_heads(project(source), attention.num_attention_heads)
            for project, source in zip(projects, sources, strict=True)
        )
        mixed = join_heads(attend(q, k, v, scores, fused=self.fused))
        inner = layer.attention.output(mixed, residual)
        for network in layer.ffn if layer.num_feedforward_networks > 1 else ():
            inner = network(inner)
        out: torch.Tensor = layer.output(layer.intermediate(inner), inner, x)
        return out


def transforms_embeddings(config: Any) -> bool:
    """Whether the linear layer behind the word embeddings is used."""
    return bool(config.trigram_input) or config.embedding_size != config.hidden_size
