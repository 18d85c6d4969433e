"""What a family of models is, and what the rest of the pipeline may ask of it.

A family differs from the next in its inputs (token types, positions, side of the padding), its
tokenizer, the names of its sizes and how its head reads the encoder. All of that is told here and
in one module per family; nothing else in `export` asks for a model's type by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from export.settings import ModelSize

# What is added to the attention scores of padding. exp(-1e4) is 0 in float32, so the result equals
# -inf's, and unlike -inf it survives float16 and int8 without NaN.
MASKED_SCORE = -1e4

PadSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Names of the tokens that stand for no text, as the family's own checkpoints call them.

    Attributes:
        order: all of them in the order of their ids in a newly trained vocabulary, from 0.
    """

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScalePair:
    """Two places between which a factor per channel can move without changing the function.

    Of what `writer` gives, only `readers` read the channels as they are; in between, a channel is
    at most mixed with itself (of other tokens) and passed through a ReLU.

    Attributes:
        writer: a linear layer or a LayerNorm; ``{layer}`` stands for every layer's number,
            ``{last}`` for the last one's.
        readers: the linear layers behind it, written likewise.
    """

    writer: str
    readers: tuple[str, ...]


def bert_scale_pairs(root: str, head: str) -> tuple[ScalePair, ...]:
    """The pairs of BERT and of what is built as it.

    The residual reads every other LayerNorm, so these have no partner: the next LayerNorm divides
    by what all channels of the sum have in common. Nothing moves through GELU either.

    Args:
        root: prefix of the encoder.
        head: the linear layer that reads the last LayerNorm.
    """
    layer = f"{root}.encoder.layer"
    return (
        ScalePair(
            f"{layer}.{{layer}}.attention.self.value",
            (f"{layer}.{{layer}}.attention.output.dense",),
        ),
        ScalePair(f"{layer}.{{last}}.output.LayerNorm", (head,)),
    )


BERT_TOKENS = SpecialTokens(
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
)


def no_unused_positions(pad_id: int) -> int:
    """The first token has the table's first row."""
    del pad_id
    return 0


def additive_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """[batch, length] of 1 and 0 → float32 [batch, 1, 1, length] to be added to the scores.

    transformers passes a 4-D mask on as it is. Its own mask code becomes boolean 5-D gathers, which
    old mobile runtimes refuse.
    """
    import torch

    return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED_SCORE


def absolute_inputs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Inputs of a family with one segment and positions from 0."""
    import torch

    inputs = {"input_ids": input_ids, "attention_mask": additive_mask(attention_mask)}
    if getattr(model.config, "type_vocab_size", 0):
        # One text is all segment 0. Said outright, because transformers' default gathers it.
        inputs["token_type_ids"] = torch.zeros_like(input_ids)
    return inputs


def bert_sizes(size: ModelSize) -> dict[str, Any]:
    """The names that BERT and most of its descendants give to their sizes."""
    return {
        "hidden_size": size.dim,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.hidden_dim,
        "hidden_dropout_prob": size.dropout,
        "attention_probs_dropout_prob": size.dropout,
        "classifier_dropout": size.dropout,
        "initializer_range": size.initializer_range,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family of transformers' models. What has a default is BERT's.

    Attributes:
        name: transformers' ``model_type``.
        title: as people write it.
        config_class, classifier, masked_lm: class names in transformers; an empty `masked_lm` means
            that the family was not trained by masking.
        root: prefix of the encoder's weights in the classifier's state dict, without a dot.
        bare: pattern of weight names of an encoder saved without a head.
        head: pattern of weight names that a checkpoint may lack when a new head is put on it.
        last_layer: the linear layer that gives the logits; a checkpoint without it has no head.
        tokenizers: models of the `tokenizers` package that its checkpoints use.
        lowercase: whether a newly trained tokenizer lowers case, as the best-known one does.
        special: its special tokens.
        has_token_types: the model has segments, which `inputs` makes.
        has_positions: there is a table of positions, which limits the length.
        pad_side: where the model was trained with padding, and must have it.
        pooled_position: the position that the head reads: 0, or -1 for the last.
        example: a well-known checkpoint on the hub.
        sizes: the configuration's fields for a small model.
        inputs: (input_ids, attention_mask) → keyword arguments of transformers' forward, all of
            shape [batch, length] or ready for it, so that no mask code of transformers runs.
        head_of: (classifier, vector [batch, dim]) → logits [batch, labels]: everything after the
            encoder's last hidden state at `pooled_position`.
        scale_pairs: where outliers can move from an activation into weights; empty where nobody
            has looked.
        unused_positions: (config's pad_token_id) → rows of the table before the first token's.
    """

    name: str
    title: str
    config_class: str
    classifier: str
    masked_lm: str
    root: str
    bare: re.Pattern[str]
    head: re.Pattern[str]
    last_layer: str
    tokenizers: tuple[str, ...] = ("WordPiece",)
    lowercase: bool = True
    special: SpecialTokens = BERT_TOKENS
    has_token_types: bool = True
    has_positions: bool = True
    pad_side: PadSide = "right"
    pooled_position: int = 0
    example: str
    sizes: Callable[[ModelSize], Mapping[str, Any]] = bert_sizes
    inputs: Callable[[Any, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]] = absolute_inputs
    head_of: Callable[[Any, torch.Tensor], torch.Tensor]
    scale_pairs: tuple[ScalePair, ...] = ()
    unused_positions: Callable[[int], int] = no_unused_positions

    def longest(self, config: Any) -> int | None:
        """Longest sequence in ids that a configuration has positions for; None for any length."""
        if not self.has_positions:
            return None
        return int(config.max_position_embeddings) - self.unused_positions(config.pad_token_id or 0)

    def hidden(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """The encoder's last hidden state.

        Args:
            model: the classifier.
            input_ids: int [batch, length], padded on `pad_side`.
            attention_mask: int [batch, length], 1 for a token.

        Returns:
            float32 [batch, length, dim].
        """
        out: torch.Tensor = model.base_model(
            **self.inputs(model, input_ids, attention_mask), return_dict=False
        )[0]
        return out

    def head_input(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """What `head_of` reads, float32 [batch, dim]; the other arguments as for `hidden`."""
        return self.hidden(model, input_ids, attention_mask)[:, self.pooled_position]

    def logits(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Transformers' own forward: float32 [batch, labels]; arguments as for `hidden`."""
        out: torch.Tensor = model(
            **self.inputs(model, input_ids, attention_mask), return_dict=False
        )[0]
        return out


def pooler_head(base: str) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """A head of pooler, dropout and classifier, as BERT's."""

    def head(model: Any, vector: torch.Tensor) -> torch.Tensor:
        pooled = getattr(model, base).pooler(vector[:, None])
        out: torch.Tensor = model.classifier(model.dropout(pooled))
        return out

    return head


def dense_head(model: Any, vector: torch.Tensor) -> torch.Tensor:
    """A head that transformers keeps in ``classifier`` and that reads position 0 itself."""
    out: torch.Tensor = model.classifier(vector[:, None])
    return out
