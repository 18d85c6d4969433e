"""DistilBERT: BERT with half the layers, no token types and no pooler (arXiv 1910.01108)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import Family, ScalePair

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize


def _sizes(size: ModelSize) -> dict[str, Any]:
    return {
        "dim": size.dim,
        "n_layers": size.layers,
        "n_heads": size.heads,
        "hidden_dim": size.hidden_dim,
        "dropout": size.dropout,
        "attention_dropout": size.dropout,
        "seq_classif_dropout": size.dropout,
        "initializer_range": size.initializer_range,
    }


def _head(model: Any, vector: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = model.classifier(model.dropout(model.pre_classifier(vector).relu()))
    return out


NAME = "distilbert"
_LAYER = "distilbert.transformer.layer"

FAMILY = Family(
    name=NAME,
    title="DistilBERT",
    config_class="DistilBertConfig",
    classifier="DistilBertForSequenceClassification",
    masked_lm="DistilBertForMaskedLM",
    root="distilbert",
    bare=re.compile(r"^transformer\.layer\.\d+\.attention\."),
    head=re.compile(r"^(pre_classifier|classifier)\."),
    last_layer="classifier",
    has_token_types=False,
    example="distilbert-base-uncased",
    sizes=_sizes,
    head_of=_head,
    # As `bert_scale_pairs`; and its head has a ReLU, which lets factors above 0 through.
    scale_pairs=(
        ScalePair(
            f"{_LAYER}.{{layer}}.attention.v_lin", (f"{_LAYER}.{{layer}}.attention.out_lin",)
        ),
        ScalePair(f"{_LAYER}.{{last}}.output_layer_norm", ("pre_classifier",)),
        ScalePair("pre_classifier", ("classifier",)),
    ),
)
