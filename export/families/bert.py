"""BERT (arXiv 1810.04805): token types, and a pooler before the classifier."""

from __future__ import annotations

import re

from export.families.base import Family, bert_scale_pairs, pooler_head

NAME = "bert"

FAMILY = Family(
    name=NAME,
    title="BERT",
    config_class="BertConfig",
    classifier="BertForSequenceClassification",
    masked_lm="BertForMaskedLM",
    root="bert",
    bare=re.compile(r"^encoder\.layer\."),
    head=re.compile(r"^(bert\.pooler|pooler|classifier)\."),
    last_layer="classifier",
    example="bert-base-uncased",
    head_of=pooler_head("bert"),
    scale_pairs=bert_scale_pairs("bert", "bert.pooler.dense"),
)
