"""XLNet's classifier as linear layers and products of at most four axes.

transformers writes it with one_hot, einsum, index_select and masks of [length, length]. Here:

- every matrix of the attention is a linear layer, so that quantizers know it as one;
- nothing of the size of length × length or length × width is constant. Sines, cosines and
  segments are computed from a zero that comes from the mask, since converters would fold them, and
  with them the positions' matrix of every layer, into constants of megabytes;
- padding is masked by one row, and a padded position does not see itself: nobody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.families.base import MASKED_SCORE
from export.families.plain import Floats, Plain
from runtime.errors import UserError

# [width, heads, head] each: all but the last are read from the width, the last is read to it.
_INTO, _OUT = ("q", "k", "v", "r"), "o"
_BIASES = ("r_w_bias", "r_r_bias", "r_s_bias")
_SEGMENTS = "seg_embed"
_UNUSED = ("transformer.mask_emb",)


def plain_xlnet(original: Any) -> Plain:
    """Write out a reference's module; weights that need not be turned are shared with it.

    Raises:
        UserError: the configuration is one that no published checkpoint has.
    """
    model, pool = original.model, getattr(original, "pool", None)
    _check(model.config, with_head=pool is None)
    module = PlainXLNet(model, pool).eval()
    module.requires_grad_(requires_grad=False)
    heads = int(model.config.n_head)
    parameters = {name: value.numpy() for name, value in module.state_dict().items()}
    return Plain(
        module,
        "",
        parameters,
        lambda tensors: _restored(tensors, heads),
        _UNUSED,
        lambda length: tuple(value.numpy() for value in module.constants(length)),
    )


def _check(config: Any, *, with_head: bool) -> None:
    for name, usual in (("attn_type", "bi"), ("bi_data", False), ("summary_type", "last")):
        value = getattr(config, name)
        if value != usual and (with_head or name != "summary_type"):
            raise UserError(
                f"this XLNet has {name} {value!r}", why=f"only {usual!r} can be exported"
            )


class _Attention(nn.Module):
    """One layer's attention with relative positions."""

    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    r: nn.Linear
    r_w_bias: nn.Parameter
    r_r_bias: nn.Parameter
    r_s_bias: nn.Parameter

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.heads, self.head, self.scale = original.n_head, original.d_head, original.scale
        width = original.d_model
        for name in _INTO:
            weight = getattr(original, name).detach().reshape(width, -1).T
            setattr(self, name, _linear(weight))
        self.o = _linear(original.o.detach().reshape(width, -1))
        for name in _BIASES:
            setattr(self, name, nn.Parameter(getattr(original, name).detach()))
        # [1, heads, head, 2]: the right side of a product for each head.
        turned = original.seg_embed.detach().permute(1, 2, 0)[None]
        self.seg_embed = nn.Parameter(turned.contiguous())
        self.layer_norm = original.layer_norm

    def _split(self, x: Tensor) -> Tensor:
        """[batch, rows, width] → [batch, rows, heads, head]."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.head)

    def forward(self, hidden: Tensor, positions: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """One layer.

        Args:
            hidden: [batch, length, width].
            positions: [1, 2·length, width], of length, length - 1 … 1 - length.
            other: [length, length], 1 where two positions are of different segments, else 0.
            mask: [batch, 1, 1, length], added to the scores.
        """
        query = self._split(self.q(hidden))
        key, relative = (
            self._split(x).permute(0, 2, 3, 1) for x in (self.k(hidden), self.r(positions))
        )
        value = self._split(self.v(hidden)).transpose(1, 2)
        content = (query + self.r_w_bias).transpose(1, 2) @ key
        place = _shifted((query + self.r_r_bias).transpose(1, 2) @ relative)
        segment = (query + self.r_s_bias).transpose(1, 2) @ self.seg_embed
        segment = segment[..., :1] * (1.0 - other) + segment[..., 1:] * other
        scores = (content + place + segment) * self.scale + mask
        context = (scores.softmax(dim=-1) @ value).transpose(1, 2)
        out: Tensor = self.layer_norm(self.o(context.flatten(2)) + hidden)
        return out


class _Layer(nn.Module):
    def __init__(self, original: Any) -> None:
        super().__init__()
        self.rel_attn, self.ff = _Attention(original.rel_attn), original.ff

    def forward(self, hidden: Tensor, positions: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.ff(self.rel_attn(hidden, positions, other, mask))
        return out


class _Encoder(nn.Module):
    def __init__(self, original: Any) -> None:
        super().__init__()
        self.word_embedding = original.word_embedding
        self.layer = nn.ModuleList(_Layer(layer) for layer in original.layer)


class PlainXLNet(nn.Module):
    """(input_ids, attention_mask) → what `export.reference.Reference.module` of an XLNet gives."""

    frequencies: Tensor

    def __init__(self, model: Any, end: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        """Take a model's modules and weights.

        Args:
            model: a ``XLNetForSequenceClassification``, or anything with its ``transformer``.
            end: (hidden [batch, length, width], attention_mask) → output; None for the model's
                own head.
        """
        super().__init__()
        config, self._end = model.config, end
        self.transformer = _Encoder(model.transformer)
        if end is None:
            self.sequence_summary, self.logits_proj = model.sequence_summary, model.logits_proj
        self._clamp = int(config.clamp_len)
        # As transformers computes them: in float32, whatever the weights are.
        steps = torch.arange(0, config.d_model, 2.0, dtype=torch.int64).float() / config.d_model
        self.register_buffer("frequencies", 1 / torch.pow(10000, steps), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As the reference's, of int32 [batch, length], padded on the left."""
        length = input_ids.shape[1]
        words = self.transformer.word_embedding(input_ids)
        # Never above 0, and a converter cannot know that it is never below.
        zero = attention_mask[:1, :1].clamp(max=0).float()
        places, last, frequencies = self.constants(length)
        angles = (places + zero) * frequencies
        positions = torch.cat([angles.sin(), angles.cos()], dim=-1).to(words.dtype)[None]
        segment = last + zero
        other = (segment.T - segment).abs().to(words.dtype)
        mask = (1.0 - attention_mask[:, None, None, :].to(words.dtype)) * MASKED_SCORE
        hidden = words
        for layer in self.transformer.layer:
            hidden = layer(hidden, positions, other, mask)
        if self._end is not None:
            return self._end(hidden, attention_mask)
        logits: Tensor = self.logits_proj(self.sequence_summary(hidden))
        return logits

    def constants(self, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Distances [2·length, 1], 1 at the last token [1, length], frequencies [1, width / 2]."""
        device = self.frequencies.device
        places = torch.arange(length, -length, -1, device=device).float()
        if self._clamp > 0:
            places = places.clamp(-self._clamp, self._clamp)
        # <cls>, the last token, is a segment of its own.
        last = torch.cat([torch.zeros(1, length - 1), torch.ones(1, 1)], dim=1).to(device)
        return places[:, None], last, self.frequencies[None]


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    # litert-torch tells weights apart by their address. Of a turned view it makes a copy, whose
    # address the next layer's copy gets again: three layers then silently share one matrix.
    layer.weight = nn.Parameter(weight.contiguous())
    return layer


def _shifted(scores: Tensor) -> Tensor:
    """Scores by distance, [batch, heads, length, 2·length], → by position, […, length, length].

    Row i has distance length + j - i at column j once it is moved i to the left: read with one
    number less a row, each row starts one later (arXiv 1901.02860, appendix B).
    """
    batch, heads, length, distances = scores.shape
    scores = scores.reshape(batch, heads, distances, length)[:, :, 1:]
    return scores.reshape(batch, heads, length, distances - 1)[..., :length]


def _restored(tensors: Mapping[str, Floats], heads: int) -> dict[str, Floats]:
    """`PlainXLNet`'s parameters under transformers' names, in its shapes."""
    found = {}
    for name, values in tensors.items():
        layer, _, part = name.removesuffix(".weight").rpartition(".")
        if not layer.endswith(".rel_attn"):
            found[name] = values
        elif part in _INTO:
            found[f"{layer}.{part}"] = np.ascontiguousarray(_by_head(values.T, heads))
        elif part == _OUT:
            found[f"{layer}.{part}"] = _by_head(values, heads)
        else:
            turned = part == _SEGMENTS
            found[name] = np.ascontiguousarray(values[0].transpose(2, 0, 1)) if turned else values
    return found


def _by_head(matrix: Floats, heads: int) -> Floats:
    return matrix.reshape(len(matrix), heads, -1)
