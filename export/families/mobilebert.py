"""MobileBERT (arXiv 2004.02984): bottlenecked layers, and scale-and-shift instead of LayerNorm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import Family, absolute_inputs, bert_sizes, pooler_head

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize


def _sizes(size: ModelSize) -> dict[str, Any]:
    # The paper's proportions: the bottleneck and the embedding are a quarter of the width.
    narrow = max(size.heads, size.dim // 4)
    return bert_sizes(size) | {
        "intermediate_size": size.dim,
        "intra_bottleneck_size": narrow,
        "true_hidden_size": narrow,
        "embedding_size": narrow,
        "num_feedforward_networks": 2,
        # Nothing normalizes what flows through, so the bottleneck's own width counts: with the
        # plain range a small one stayed at two thirds right on three labels, with this it learned.
        "initializer_range": size.initializer_range * (size.dim / narrow) ** 0.5,
    }


def _inputs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    inputs = absolute_inputs(model, input_ids, attention_mask)
    # Every position reads its neighbours' embeddings. The last token must not see the padding's, or
    # the answer would depend on whether there is padding; beyond the end transformers has zeros.
    words = model.base_model.embeddings.word_embeddings(inputs.pop("input_ids"))
    return inputs | {"inputs_embeds": words * attention_mask[:, :, None].to(words.dtype)}


NAME = "mobilebert"

FAMILY = Family(
    name=NAME,
    title="MobileBERT",
    config_class="MobileBertConfig",
    classifier="MobileBertForSequenceClassification",
    masked_lm="MobileBertForMaskedLM",
    root="mobilebert",
    bare=re.compile(r"^encoder\.layer\.\d+\.bottleneck\."),
    head=re.compile(r"^(mobilebert\.pooler|pooler|classifier)\."),
    last_layer="classifier",
    example="google/mobilebert-uncased",
    sizes=_sizes,
    inputs=_inputs,
    head_of=pooler_head("mobilebert"),
)
