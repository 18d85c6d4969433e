"""RoBERTa (arXiv 1907.11692): byte-level BPE, one token type, positions after the padding's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import (
    Family,
    SpecialTokens,
    absolute_inputs,
    bert_scale_pairs,
    bert_sizes,
    dense_head,
)

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize


def _sizes(size: ModelSize) -> dict[str, Any]:
    return bert_sizes(size) | {"type_vocab_size": 1}


def _inputs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    import torch

    # fairseq's numbering: the first token has the position after pad_token_id. With padding on the
    # right that is a plain count; what padding itself gets is masked. A slice of all positions, as
    # BERT's, is what converters fold.
    first = _unused(model.config.pad_token_id)
    every = torch.arange(model.config.max_position_embeddings, device=input_ids.device)
    positions = every[first : first + input_ids.shape[1]]
    return absolute_inputs(model, input_ids, attention_mask) | {"position_ids": positions[None]}


def _unused(pad_id: int) -> int:
    return pad_id + 1


NAME = "roberta"

FAMILY = Family(
    name=NAME,
    title="RoBERTa",
    config_class="RobertaConfig",
    classifier="RobertaForSequenceClassification",
    masked_lm="RobertaForMaskedLM",
    root="roberta",
    bare=re.compile(r"^encoder\.layer\."),
    head=re.compile(r"^classifier\."),
    last_layer="classifier.out_proj",
    tokenizers=("BPE",),
    lowercase=False,
    special=SpecialTokens(
        "<pad>", "<unk>", "<s>", "</s>", "<mask>", ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    ),
    example="roberta-base",
    sizes=_sizes,
    inputs=_inputs,
    head_of=dense_head,
    scale_pairs=bert_scale_pairs("roberta", "classifier.dense"),
    unused_positions=_unused,
)
