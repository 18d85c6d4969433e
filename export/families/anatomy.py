"""Where the families that differ from BERT in names alone keep what each of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Step = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """The modules of one encoder layer whose norms come after the sums.

    Attributes:
        query, key, value, out: attention's linear layers.
        attention_norm: of attention's output added to its input.
        inner, activation, outer: the feed-forward part.
        output_norm: of its output added to its input.
    """

    query: Any
    key: Any
    value: Any
    out: Any
    attention_norm: Any
    inner: Any
    activation: Step
    outer: Any
    output_norm: Any


@dataclass(frozen=True, slots=True)
class Anatomy:
    """How to find the parts of a family's classifier. Every function takes the classifier.

    Attributes:
        project: the linear layer between narrow embeddings and the encoder, or None.
        blocks: every layer in the order in which it is run; ALBERT's is there many times.
        head: what is done to the first position's vector, one after the other.
    """

    project: Callable[[Any], Any]
    blocks: Callable[[Any], list[Block]]
    head: Callable[[Any], tuple[Step, ...]]


def _no_project(model: Any) -> None:
    del model


def _distilbert_blocks(model: Any) -> list[Block]:
    return [
        Block(
            layer.attention.q_lin,
            layer.attention.k_lin,
            layer.attention.v_lin,
            layer.attention.out_lin,
            layer.sa_layer_norm,
            layer.ffn.lin1,
            layer.ffn.activation,
            layer.ffn.lin2,
            layer.output_layer_norm,
        )
        for layer in model.base_model.transformer.layer
    ]


def _bert_blocks(model: Any) -> list[Block]:
    return [
        Block(
            layer.attention.self.query,
            layer.attention.self.key,
            layer.attention.self.value,
            layer.attention.output.dense,
            layer.attention.output.LayerNorm,
            layer.intermediate.dense,
            layer.intermediate.intermediate_act_fn,
            layer.output.dense,
            layer.output.LayerNorm,
        )
        for layer in model.base_model.encoder.layer
    ]


def _albert_blocks(model: Any) -> list[Block]:
    encoder, config = model.base_model.encoder, model.config
    groups = encoder.albert_layer_groups
    # transformers' own rule for which group a layer takes its weights from.
    turns = config.num_hidden_layers / config.num_hidden_groups
    return [
        Block(
            layer.attention.query,
            layer.attention.key,
            layer.attention.value,
            layer.attention.dense,
            layer.attention.LayerNorm,
            layer.ffn,
            layer.activation,
            layer.ffn_output,
            layer.full_layer_layer_norm,
        )
        for number in range(config.num_hidden_layers)
        for layer in groups[int(number / turns)].albert_layers
    ]


def _electra_project(model: Any) -> Any:
    return getattr(model.electra, "embeddings_project", None)


def _albert_project(model: Any) -> Any:
    return model.albert.encoder.embedding_hidden_mapping_in


def _distilbert_head(model: Any) -> tuple[Step, ...]:
    return (model.pre_classifier, torch.relu, model.classifier)


def _bert_head(model: Any) -> tuple[Step, ...]:
    return (model.bert.pooler.dense, torch.tanh, model.classifier)


def _albert_head(model: Any) -> tuple[Step, ...]:
    return (model.albert.pooler, torch.tanh, model.classifier)


def _roberta_head(model: Any) -> tuple[Step, ...]:
    return (model.classifier.dense, torch.tanh, model.classifier.out_proj)


def _electra_head(model: Any) -> tuple[Step, ...]:
    return (model.classifier.dense, torch.nn.functional.gelu, model.classifier.out_proj)


# Family → its anatomy.
ANATOMIES: Mapping[str, Anatomy] = {
    "albert": Anatomy(_albert_project, _albert_blocks, _albert_head),
    "bert": Anatomy(_no_project, _bert_blocks, _bert_head),
    "distilbert": Anatomy(_no_project, _distilbert_blocks, _distilbert_head),
    "electra": Anatomy(_electra_project, _bert_blocks, _electra_head),
    "roberta": Anatomy(_no_project, _bert_blocks, _roberta_head),
}
