"""A student that starts as a part of its teacher: every second layer, copied.

Two ways. A BERT gives a real DistilBERT, as in the paper (arXiv 1910.01108): token types and pooler
are removed, every weight gets DistilBERT's name. Any family with layers of their own gives a
shallower model of the same family.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import DistilBertConfig, PreTrainedModel

# BERT's name inside a layer → DistilBERT's.
_LAYER = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
_MASKED_HEAD = {
    "cls.predictions.transform.dense.weight": "vocab_transform.weight",
    "cls.predictions.transform.dense.bias": "vocab_transform.bias",
    "cls.predictions.transform.LayerNorm.weight": "vocab_layer_norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "vocab_layer_norm.bias",
    "cls.predictions.decoder.weight": "vocab_projector.weight",
    "cls.predictions.bias": "vocab_projector.bias",
}


def distilbert_from_bert(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A DistilBERT with some of a BERT's layers.

    Pooler and token types are removed, as in the paper. The original script drops the token type
    embeddings; here type 0, which every token of a single text has, is added to the position
    embeddings, so that a student of all layers computes exactly what its teacher does. (Not to the
    word embeddings: the masked-language head shares them.)

    Args:
        teacher: ``BertForMaskedLM`` or ``BertForSequenceClassification``.
        layers: ascending indices from 0.

    Returns:
        ``DistilBertForMaskedLM`` with the teacher's head, or
        ``DistilBertForSequenceClassification`` with a head that is new: the teacher's reads the
        pooler through tanh, DistilBERT's is a ReLU of its own.

    Raises:
        UserError: the teacher is no BERT, or has what a DistilBERT lacks.
    """
    from transformers import DistilBertForMaskedLM, DistilBertForSequenceClassification

    config = teacher.config
    if config.model_type != "bert":
        raise UserError(
            f"a DistilBERT cannot be taken from a {config.model_type}",
            why="only BERT's layers have the same parts",
            todo="choose --student same-family, or a student of your own",
        )
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise UserError(
            "the teacher has relative positions", why="DistilBERT has none", todo="same-family"
        )
    weights = teacher.state_dict()
    mapped = _encoder_weights(weights, layers)
    has_masked_head = "cls.predictions.bias" in weights
    if has_masked_head:
        model = DistilBertForMaskedLM(_distilbert_config(config, len(layers)))
        mapped |= {new: weights[old] for old, new in _MASKED_HEAD.items()}
    else:
        model = DistilBertForSequenceClassification(_distilbert_config(config, len(layers)))
    missing, unexpected = model.load_state_dict(mapped, strict=False)
    head = () if has_masked_head else ("pre_classifier.", "classifier.")
    holes = [key for key in missing if not (head and key.startswith(head))]
    if holes or unexpected:  # another layout of the weights than the one that is known here
        raise UserError(
            f"this BERT's weights cannot be given to a DistilBERT: {(holes or unexpected)[0]}"
        )
    return model


def _encoder_weights(
    weights: dict[str, torch.Tensor], layers: Sequence[int]
) -> dict[str, torch.Tensor]:
    source = "bert.embeddings"
    target = "distilbert.embeddings"
    mapped = {
        f"{target}.word_embeddings.weight": weights[f"{source}.word_embeddings.weight"],
        f"{target}.position_embeddings.weight": weights[f"{source}.position_embeddings.weight"]
        + weights[f"{source}.token_type_embeddings.weight"][0],
    }
    for kind in ("weight", "bias"):
        mapped[f"{target}.LayerNorm.{kind}"] = weights[f"{source}.LayerNorm.{kind}"]
        for new, old in enumerate(layers):
            for theirs, ours in _LAYER.items():
                mapped[f"distilbert.transformer.layer.{new}.{ours}.{kind}"] = weights[
                    f"bert.encoder.layer.{old}.{theirs}.{kind}"
                ]
    return mapped


def _distilbert_config(bert: Any, layers: int) -> DistilBertConfig:
    from transformers import DistilBertConfig

    config = DistilBertConfig(
        vocab_size=bert.vocab_size,
        max_position_embeddings=bert.max_position_embeddings,
        dim=bert.hidden_size,
        n_layers=layers,
        n_heads=bert.num_attention_heads,
        hidden_dim=bert.intermediate_size,
        dropout=bert.hidden_dropout_prob,
        attention_dropout=bert.attention_probs_dropout_prob,
        activation=bert.hidden_act,
        initializer_range=bert.initializer_range,
        pad_token_id=bert.pad_token_id,
        tie_word_embeddings=bert.tie_word_embeddings,
        id2label=bert.id2label,
        label2id=bert.label2id,
    )
    config.problem_type = bert.problem_type
    return config


def shallow_copy(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A model of the teacher's own class with some of its layers, and all else that it has.

    Args:
        teacher: of any family whose layers have weights of their own.
        layers: ascending indices from 0.

    Raises:
        UserError: the layers share their weights, or are not found.
    """
    depth = int(teacher.config.num_hidden_layers)
    if teacher.config.model_type == "albert":
        raise UserError(
            "no layer of an ALBERT can be left out",
            why="all its layers share one layer's weights, so a student would be no smaller",
            todo="name a student of your own: --student FOLDER",
        )
    stacks = [
        name
        for name, module in teacher.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth
    ]
    # A list inside another one belongs to a layer (MobileBERT's feed-forward networks).
    stacks = [name for name in stacks if not any(name.startswith(f"{other}.") for other in stacks)]
    if len(stacks) != 1:
        raise UserError(
            f"the layers of a {teacher.config.model_type} were not found",
            todo="name a student of your own: --student FOLDER",
        )
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    student = type(teacher)(config)
    prefix = f"{stacks[0]}."
    wanted = {str(old): str(new) for new, old in enumerate(layers)}
    mapped = {}
    for key, tensor in teacher.state_dict().items():
        if not key.startswith(prefix):
            mapped[key] = tensor
            continue
        old, rest = key.removeprefix(prefix).split(".", 1)
        if old in wanted:
            mapped[f"{prefix}{wanted[old]}.{rest}"] = tensor
    student.load_state_dict(mapped)
    return student
