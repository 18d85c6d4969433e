"""ALBERT (arXiv 1909.11942): one layer's weights for all layers, narrow embeddings, Unigram."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import Family, SpecialTokens, bert_sizes

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize


def _sizes(size: ModelSize) -> dict[str, Any]:
    return bert_sizes(size) | {
        "embedding_size": max(8, size.dim // 2),
        "classifier_dropout_prob": size.dropout,
    }


def _head(model: Any, vector: torch.Tensor) -> torch.Tensor:
    pooled = model.albert.pooler_activation(model.albert.pooler(vector))
    out: torch.Tensor = model.classifier(model.dropout(pooled))
    return out


NAME = "albert"

FAMILY = Family(
    name=NAME,
    title="ALBERT",
    config_class="AlbertConfig",
    classifier="AlbertForSequenceClassification",
    masked_lm="AlbertForMaskedLM",
    root="albert",
    bare=re.compile(r"^encoder\.albert_layer_groups\."),
    head=re.compile(r"^(albert\.pooler|pooler|classifier)\."),
    last_layer="classifier",
    tokenizers=("Unigram",),
    special=SpecialTokens(
        "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    ),
    example="albert-base-v2",
    sizes=_sizes,
    head_of=_head,
)
