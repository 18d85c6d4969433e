"""XLNet: relative positions and two segments in the attention scores, padding on the left."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from export.targets.coreml._attention import attend, join_heads
from export.targets.coreml._parameters import PERMUTED
from export.targets.coreml._program import Program, padding_scores
from runtime.errors import UserError


class XLNetProgram(Program):
    """[batch, length, channels]; the last position, <cls>, is a segment of its own."""

    def __init__(
        self, model: Any, activation: str | None, *, length: int, fixed: bool, fused: bool
    ) -> None:
        """Take a transformers classifier over, whose parameters are replaced in place.

        Args:
            model: ``XLNetForSequenceClassification``; hand a copy over.
            activation: see `Program`.
            length: longest sequence.
            fixed: whether `length` is the only one.
            fused: attention as one operation.

        Raises:
            UserError: the configuration is not that of a classifier of one text.
        """
        super().__init__(model, activation)
        check_config(model.config)
        self.length, self.fixed, self.fused = length, fixed, fused
        encoder = model.transformer
        for layer in encoder.layer:
            _as_matrices(layer.rel_attn)
        width = model.config.d_model
        exponents = torch.arange(0, width, 2.0, dtype=torch.int64).float() / width
        positions = torch.arange(length, -length, -1, dtype=torch.int32)
        if model.config.clamp_len > 0:
            positions = positions.clamp(-model.config.clamp_len, model.config.clamp_len)
        last = torch.zeros(length)
        last[-1] = 1.0
        for name, values in {
            "inverse_frequencies": 1 / torch.pow(10000, exponents),
            "relative_positions": positions,
            "cls_key": last,
            "cls_query_sign": (1.0 - 2.0 * last)[:, None],
            # Core ML's linear layer has a bias; the converter would store a nameless one for each.
            "no_bias": torch.zeros(width),
        }.items():
            encoder.register_buffer(name, values, persistent=False)

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        encoder = self.model.transformer
        x: torch.Tensor = encoder.word_embedding(input_ids)
        waves = self._waves(attention_mask).to(x.dtype)
        padding = padding_scores(attention_mask, x.dtype)
        for layer in encoder.layer:
            x = self._layer(x, waves, padding, layer)
        return x

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Program`."""
        summary = self.model.sequence_summary
        x = summary.activation(summary.summary(hidden[:, -1]))
        logits: torch.Tensor = self.model.logits_proj(x)
        return logits

    def _waves(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Sine and cosine of the distances from length down to 1 - length, [2 * length, width].

        They are computed where the model runs, in float32: float16 has no angles of hundreds of
        radians, and their table would be as large as a layer's weights.
        """
        encoder, length = self.model.transformer, attention_mask.shape[1]
        distances = encoder.relative_positions
        if not self.fixed:
            distances = distances[self.length - length : self.length + length]
        # The last position is always a token, so this is times 1. Without it the converter would
        # compute everything that depends on distances alone, weights included, once and for all,
        # and store that instead of the weights.
        distances = distances * attention_mask[:1, -1]
        frequencies = encoder.inverse_frequencies
        # In float64 too transformers makes its angles in float32. A cast that changes nothing
        # would cost the constant its name.
        if frequencies.dtype != torch.float32:
            frequencies = frequencies.to(torch.float32)
        angles = distances[:, None].to(torch.float32) * frequencies
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)

    def _layer(
        self, x: torch.Tensor, waves: torch.Tensor, padding: torch.Tensor, layer: Any
    ) -> torch.Tensor:
        relative, heads = layer.rel_attn, self.model.config.n_head
        query, key, value, place = (
            self._linear(source, weight).view(*source.shape[:2], heads, -1)
            for source, weight in (
                (x, relative.q),
                (x, relative.k),
                (x, relative.v),
                (waves[None], relative.r),
            )
        )
        # Biases before the axes change places: the converter would move theirs, names and all.
        content, by_place, by_segment = (
            (query + bias).transpose(1, 2)
            for bias in (relative.r_w_bias, relative.r_r_bias, relative.r_s_bias)
        )
        scores = _shifted(torch.matmul(by_place, place.permute(0, 2, 3, 1)))
        scores = scores + self._segments(by_segment, relative.seg_embed)
        scores = scores * relative.d_head**-0.5 + padding
        key, value = key.transpose(1, 2), value.transpose(1, 2)
        mixed = attend(content, key, value, scores, fused=self.fused)
        x = relative.layer_norm(self._linear(join_heads(mixed), relative.o) + x)
        inner = layer.ff.activation_function(layer.ff.layer_1(x))
        out: torch.Tensor = layer.ff.layer_norm(layer.ff.layer_2(inner) + x)
        return out

    def _linear(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, weight, self.model.transformer.no_bias)

    def _segments(self, query: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """[batch, heads, length, length], but for what is equal along a row.

        A score of its own has every key of another segment: for text that is <cls>, for <cls> all
        but itself. What is added to a whole row changes no softmax, so <cls> may have the negative
        of it at itself instead.
        """
        encoder, length = self.model.transformer, query.shape[2]
        key, sign = encoder.cls_key, encoder.cls_query_sign
        if not self.fixed:
            key, sign = key[self.length - length :], sign[self.length - length :]
        both = torch.matmul(query, embedded)  # with the same segment, and with the other
        other: torch.Tensor = (both[..., 1:] - both[..., :1]) * sign * key
        return other


def _shifted(scores: torch.Tensor) -> torch.Tensor:
    """Scores by distance, from length down to 1 - length, → by key: [.., n, 2n] → [.., n, n].

    Row i's key j is at the distance i - j. Rows that are one shorter move it there.
    """
    batch, heads, length, _ = scores.shape
    turned = scores.reshape(batch, heads, 2 * length, length)[:, :, 1:]
    return turned.reshape(batch, heads, length, 2 * length - 1)[..., :length]


def _as_matrices(relative: Any) -> None:
    """Put attention's parameters in the shapes they are used in, on the same memory."""
    for name, order in PERMUTED.items():
        parameter = getattr(relative, name).permute(order)
        if name != "seg_embed":
            parameter = parameter.flatten(1) if name == "o" else parameter.flatten(0, 1)
        setattr(relative, name, nn.Parameter(parameter, requires_grad=False))


def check_config(config: Any) -> None:
    """Refuse what `XLNetProgram` does not compute.

    Raises:
        UserError: names the setting.
    """
    wanted = {
        "attn_type": ("bi",),
        "bi_data": (False,),
        # Without positions of their own, the last is what cls_index takes.
        "summary_type": ("last", "cls_index"),
    }
    for name, values in wanted.items():
        if (value := getattr(config, name)) not in values:
            raise UserError(
                f"Core ML is made of XLNet classifiers with {name} {values[0]!r} alone, not "
                f"{value!r}",
                todo="choose the target onnx",
            )
