"""ELECTRA (arXiv 2003.10555): a discriminator with narrow embeddings and a dense head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import Family, ScalePair, bert_scale_pairs, bert_sizes, dense_head

if TYPE_CHECKING:
    from export.settings import ModelSize


def _sizes(size: ModelSize) -> dict[str, Any]:
    return bert_sizes(size) | {"embedding_size": max(8, size.dim // 2)}


NAME = "electra"

FAMILY = Family(
    name=NAME,
    title="ELECTRA",
    config_class="ElectraConfig",
    classifier="ElectraForSequenceClassification",
    masked_lm="",  # its discriminator tells replaced words from real ones
    root="electra",
    bare=re.compile(r"^encoder\.layer\."),
    head=re.compile(r"^classifier\."),
    last_layer="classifier.out_proj",
    example="google/electra-small-discriminator",
    sizes=_sizes,
    head_of=dense_head,
    scale_pairs=(
        *bert_scale_pairs("electra", "classifier.dense"),
        # The residual begins behind the projection; a model as wide as its embeddings has none.
        ScalePair("electra.embeddings.LayerNorm", ("electra.embeddings_project",)),
    ),
)
