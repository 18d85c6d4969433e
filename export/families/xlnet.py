"""XLNet (arXiv 1906.08237): relative positions, [CLS] last, padding on the left, Unigram."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.families.base import Family, SpecialTokens

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize

# Segments by the original code: the text and its <sep> are 0, <cls> is 2. Only whether two
# positions share a segment matters.
_TEXT_SEGMENT, _CLS_SEGMENT = 0, 2


def _sizes(size: ModelSize) -> dict[str, Any]:
    return {
        "d_model": size.dim,
        "n_layer": size.layers,
        "n_head": size.heads,
        "d_inner": size.hidden_dim,
        "dropout": size.dropout,
        "summary_last_dropout": size.dropout,
        "initializer_range": size.initializer_range,
        "use_mems_eval": False,
        "use_mems_train": False,
    }


def _inputs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    import torch

    del model
    # <cls> is the last id, because padding is on the left.
    text = torch.full_like(input_ids[:, 1:], _TEXT_SEGMENT)
    segments = torch.cat([text, torch.full_like(input_ids[:, :1], _CLS_SEGMENT)], dim=1)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask.to(torch.float32),
        "token_type_ids": segments,
    }


def _head(model: Any, vector: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = model.logits_proj(model.sequence_summary(vector[:, None]))
    return out


NAME = "xlnet"

FAMILY = Family(
    name=NAME,
    title="XLNet",
    config_class="XLNetConfig",
    classifier="XLNetForSequenceClassification",
    masked_lm="",  # it was trained by permutations of the order
    root="transformer",
    bare=re.compile(r"^layer\.\d+\.rel_attn\."),
    head=re.compile(r"^(sequence_summary|logits_proj)\."),
    last_layer="logits_proj",
    tokenizers=("Unigram",),
    lowercase=False,
    special=SpecialTokens(
        "<pad>",
        "<unk>",
        "<cls>",
        "<sep>",
        "<mask>",
        ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"),
    ),
    has_positions=False,
    pad_side="left",
    pooled_position=-1,
    example="xlnet-base-cased",
    sizes=_sizes,
    inputs=_inputs,
    head_of=_head,
)
