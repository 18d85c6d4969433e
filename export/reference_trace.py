"""What the reference computes inside, step by step, so that a fault can be told where it is.

The steps are written out in PyTorch float32 with the reference's own modules. Every way in which a
converter may split a step has its points: a linear layer with and without its bias, LayerNorm by
its mean, variance and factors, the attention's scale before or after the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.families import MASKED_SCORE
from export.reference import Reference
from export.threads import one_thread
from runtime.errors import UserError
from runtime.golden import VALIDATION, Golden
from runtime.trace import (
    EMBEDDINGS,
    INPUTS,
    TRACE,
    Floats,
    ReferenceTrace,
    TraceCase,
    TracePoint,
    joined,
    sketch,
    without_masked,
    write_trace,
)

_ROOT = "distilbert"
# The written-out steps must give the reference's logits to this share of their root mean square.
_AGREEMENT = 1e-4


def trace_reference(
    reference: Reference,
    golden: Golden,
    lengths: Sequence[int],
    pad_id: int,
    *,
    artifact: str = "",
) -> ReferenceTrace | None:
    """Trace one text per length.

    Args:
        reference: what the artifacts are made of, or a copy with an artifact's weights.
        golden: for real texts.
        lengths: the artifacts' sequence lengths, ascending; a text is cut or repeated until it
            fills three quarters of each, so that there is padding, which a wrong mask would let in.
        pad_id: fills the rest.
        artifact: path of the artifact whose weights `reference` holds.

    Returns:
        None for a model whose steps are not known here.

    Raises:
        UserError: the steps do not give the reference's logits, so that they explain nothing.
    """
    config: Any = reference.module.model.config
    if reference.output != "logits":  # the steps end in a classifier's head
        return None
    if config.model_type != "distilbert" or config.activation != "gelu":
        return None
    texts = [c.input_ids for c in golden.cases if c.set == VALIDATION] or [(0, 0)]
    passes = []
    # numpy's threads and torch's take the cores from each other: with two it takes five times as
    # long.
    with one_thread():
        for place, length in enumerate(lengths):
            row = _filled(texts[place % len(texts)], length)
            passes.append(_Steps(reference, *_padded(row, length, pad_id)))
    points = tuple(
        TracePoint(
            name=note.name,
            block=note.block,
            elements=tuple(steps.values[note.name].size for steps in passes),
            ends_block=note.ends_block,
            square=note.square,
            masked=note.masked,
        )
        for note in passes[0].notes
    )
    cases = tuple(
        TraceCase(
            input_ids=steps.input_ids.numpy(),
            attention_mask=steps.attention_mask.numpy(),
            logits=steps.logits.numpy(),
            sketches=np.array([steps.values[note.name].sketch for note in steps.notes]),
            scales=np.array([steps.values[note.name].scale for note in steps.notes]),
            artifact=artifact,
        )
        for steps in passes
    )
    return ReferenceTrace(config.n_layers, points, cases)


def write_reference_trace(
    reference: Reference,
    golden: Golden,
    lengths: Sequence[int],
    pad_id: int,
    folder: Path,
    others: Sequence[ReferenceTrace | None],
) -> None:
    """Write the bundle's trace: of the reference, and of it with the artifacts' weights.

    Nothing is written for a model whose steps are not known here.

    Args:
        reference: as `trace_reference`.
        golden: likewise.
        lengths: likewise.
        pad_id: likewise.
        folder: of the bundle.
        others: traces with weights of artifacts.

    Raises:
        UserError: as `trace_reference`.
    """
    trace = trace_reference(reference, golden, lengths, pad_id)
    if trace is not None:
        write_trace(folder / TRACE, joined(trace, *(other for other in others if other)))


def _filled(ids: Sequence[int], length: int) -> list[int]:
    """The text, cut or repeated until it fills three quarters of a length."""
    inner = list(ids[1:-1]) or [ids[0]]
    wanted = max(1, 3 * length // 4 - 2)
    repeated = (inner * (wanted // len(inner) + 1))[:wanted]
    return [ids[0], *repeated, ids[-1]][:length]


def _padded(ids: list[int], length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    rest = length - len(ids)
    row = torch.tensor([ids + [pad_id] * rest], dtype=torch.int32)
    mask = torch.tensor([[1] * len(ids) + [0] * rest], dtype=torch.int32)
    return row, mask


@dataclass(frozen=True, slots=True)
class _Note:
    """What a point is, whatever the text."""

    name: str
    block: int
    ends_block: bool
    square: bool
    masked: bool


@dataclass(frozen=True, slots=True)
class _Value:
    """What is kept of a tensor."""

    size: int
    sketch: Floats
    scale: float


class _Steps:
    """One forward pass; keeps a sketch of every step."""

    def __init__(
        self, reference: Reference, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> None:
        """`input_ids` and `attention_mask` int32 [1, length]."""
        self._model: Any = reference.module.model
        self._head = self._model.config.n_layers
        self._last_block = self._head - 1
        self.notes: list[_Note] = []
        self.values: dict[str, _Value] = {}
        self.input_ids, self.attention_mask = input_ids, attention_mask
        with torch.inference_mode():
            self.logits: torch.Tensor = reference.module(input_ids, attention_mask)[0]
            found = self._run()
        size = self.logits.square().mean().sqrt()
        change = float((found - self.logits).abs().max() / size)
        if not change <= _AGREEMENT:
            raise UserError(
                "the reference's steps cannot be traced",
                why=f"written out, they move its logits by {change:.1g} of their root mean square",
            )

    def _run(self) -> torch.Tensor:
        bert = self._model.distilbert
        mask = self.attention_mask[0].to(torch.float32)
        self._keep("attention_mask", INPUTS, mask)
        self._keep("attention_mask.inverted", INPUTS, 1.0 - mask)
        scores = self._keep("attention_mask.scores", INPUTS, (1.0 - mask) * MASKED_SCORE)
        # See `export.families.plain.sequence_first`.
        each = scores.expand(self._model.config.n_heads, -1)
        self._keep("attention_mask.scores.per_head", INPUTS, each)
        name = f"{_ROOT}.embeddings"
        words = bert.embeddings.word_embeddings(self.input_ids[0])
        places = bert.embeddings.position_embeddings.weight[: words.shape[0]]
        self._keep(f"{name}.word_embeddings", EMBEDDINGS, words)
        self._keep(f"{name}.position_embeddings", EMBEDDINGS, places)
        x = self._keep(f"{name}.sum", EMBEDDINGS, words + places)
        x = self._norm(f"{name}.LayerNorm", EMBEDDINGS, bert.embeddings.LayerNorm, x, ends=True)
        for i, block in enumerate(bert.transformer.layer):
            x = self._block(f"{_ROOT}.transformer.layer.{i}", i, block, x, scores)
        # Who classifies reads the first position alone.
        first = self._keep("first_position", self._head, x[:1])
        hidden = self._linear("pre_classifier", self._head, self._model.pre_classifier, first)
        hidden = self._keep("pre_classifier.relu", self._head, torch.relu(hidden))
        logits = self._linear("classifier", self._head, self._model.classifier, hidden)
        self._keep("probabilities.softmax", self._head, logits.softmax(-1))
        self._keep("probabilities.sigmoid", self._head, logits.sigmoid())
        return logits[0]

    def _block(
        self, name: str, i: int, block: Any, x: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """One encoder block, [length, channels] → [length, channels]."""
        attention = block.attention
        own = f"{name}.attention"
        q, k, v = (
            self._linear(f"{own}.{part}", i, getattr(attention, part), x)
            for part in ("q_lin", "k_lin", "v_lin")
        )
        length, heads = x.shape[0], attention.n_heads
        width = q.shape[1] // heads
        for part, value in (("q_lin", q), ("k_lin", k)):
            self._keep(f"{own}.{part}.scaled", i, value * width**-0.5)
            self._keep(f"{own}.{part}.half_scaled", i, value * width**-0.25)
        q, k, v = (value.reshape(length, heads, width).transpose(0, 1) for value in (q, k, v))
        products = q @ k.transpose(1, 2)
        scaled = products * width**-0.5
        masked = scaled + mask
        probabilities = masked.softmax(-1)
        context = probabilities @ v
        for part, value in (
            ("products", products),
            ("scaled_products", scaled),
            ("scores", masked),
            ("probabilities", probabilities),
        ):
            self._keep(f"{own}.{part}", i, value, square=True, masked=part == "scores")
        # Head by head, as the Neural Engine's layout has it, which takes of the last block one
        # position that asks and all that it asks for.
        is_last = i == self._last_block
        asked = 1 if is_last else length
        for head in range(heads):
            for part, value in (
                ("q_lin", q[:, :asked]),
                ("k_lin", k),
                ("v_lin", v),
                ("context", context[:, :asked]),
                ("products", products[:, :asked]),
                ("scaled_products", scaled[:, :asked]),
                ("scores", masked[:, :asked]),
                ("probabilities", probabilities[:, :asked]),
            ):
                self._keep(
                    f"{own}.{part}.head_{head}",
                    i,
                    value[head],
                    masked=part == "scores",
                    positions=False,
                )
        if is_last:
            self._one_row_per_head(own, i, attention, x, mask)
        joined = context.transpose(0, 1).reshape(length, heads * width)
        self._keep(f"{own}.context", i, joined)
        out = self._linear(f"{own}.out_lin", i, attention.out_lin, joined)
        x = self._keep(f"{own}.residual", i, out + x)
        x = self._norm(f"{name}.sa_layer_norm", i, block.sa_layer_norm, x)
        inner = self._linear(f"{name}.ffn.lin1", i, block.ffn.lin1, x)
        inner = self._keep(f"{name}.ffn.activation", i, torch.nn.functional.gelu(inner))
        out = self._linear(f"{name}.ffn.lin2", i, block.ffn.lin2, inner)
        x = self._keep(f"{name}.ffn.residual", i, out + x)
        return self._norm(f"{name}.output_layer_norm", i, block.output_layer_norm, x, ends=True)

    def _one_row_per_head(
        self, own: str, i: int, attention: Any, x: torch.Tensor, mask: torch.Tensor
    ) -> None:
        """The last block's attention, in the order of `export.families.plain.one_position`."""
        heads = attention.n_heads
        query = attention.q_lin(x[:1])
        width = query.shape[1] // heads
        channels = torch.eye(heads).repeat_interleave(width, dim=1)
        scaled = self._keep_once(f"{own}.query_per_head", i, query * (channels * width**-0.5))
        rows = self._keep_once(f"{own}.rows", i, scaled @ attention.k_lin.weight)
        products = self._keep_once(f"{own}.rows.products", i, rows @ x.T)
        # What the keys' bias adds is the same for every position.
        scores = products + mask
        self._keep_once(f"{own}.rows.scores", i, scores, masked=True)
        probabilities = self._keep_once(f"{own}.rows.probabilities", i, scores.softmax(-1))
        seen = self._keep_once(f"{own}.seen", i, probabilities @ x)
        self._keep_once(f"{own}.seen.product", i, seen @ attention.v_lin.weight.T)
        values = self._keep_once(f"{own}.seen.values", i, attention.v_lin(seen))
        self._keep_once(f"{own}.seen.own", i, values * channels)

    def _keep_once(
        self, name: str, block: int, value: torch.Tensor, *, masked: bool = False
    ) -> torch.Tensor:
        return self._keep(name, block, value, masked=masked, positions=False)

    def _linear(self, name: str, block: int, module: Any, x: torch.Tensor) -> torch.Tensor:
        self._keep(f"{name}.product", block, x @ module.weight.T)
        return self._keep(name, block, module(x))

    def _norm(
        self, name: str, block: int, module: Any, x: torch.Tensor, *, ends: bool = False
    ) -> torch.Tensor:
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(-1, keepdim=True)
        factor = (variance + module.eps).rsqrt()
        size = x.norm()
        # A mean is small beside what it is the mean of, and so is its error.
        self._keep(f"{name}.mean", block, mean, scale=size / x.shape[-1] ** 0.5)
        self._keep(f"{name}.centred", block, centred)
        self._keep(f"{name}.squared", block, centred.square())
        self._keep(f"{name}.variance", block, variance)
        self._keep(f"{name}.deviation", block, 1.0 / factor)
        self._keep(f"{name}.factor", block, factor)
        shift = (x * factor).norm() / x.shape[-1] ** 0.5
        self._keep(f"{name}.mean_times_factor", block, mean * factor, scale=shift)
        self._keep(f"{name}.shift", block, -mean * factor, scale=shift)
        self._keep(f"{name}.times_factor", block, x * factor)
        self._keep(f"{name}.normalised", block, centred * factor)
        self._keep(f"{name}.weighted", block, centred * factor * module.weight)
        return self._keep(name, block, module(x), ends=ends)

    def _keep(
        self,
        name: str,
        block: int,
        value: torch.Tensor,
        *,
        scale: torch.Tensor | None = None,
        ends: bool = False,
        square: bool = False,
        masked: bool = False,
        positions: bool = True,
    ) -> torch.Tensor:
        """Note one step; in the last block, and where it begins, its first position as well.

        Artifacts compute only what is read there: see `export.families.plain.one_position` and, for
        ONNX, `export.targets.onnx._one_position`.
        """
        self._note(name, block, value, scale, ends=ends, square=square, masked=masked)
        begins_last = block == self._last_block - 1 and ends
        if positions and (block == self._last_block or begins_last):
            first = value[:, :1] if square else value[:1]
            share = None if scale is None else scale / value.shape[0] ** 0.5
            first_name = f"{name}.first_position"
            self._note(first_name, block, first, share, ends=ends, square=False, masked=masked)
        return value

    def _note(
        self,
        name: str,
        block: int,
        value: torch.Tensor,
        scale: torch.Tensor | None,
        *,
        ends: bool,
        square: bool,
        masked: bool,
    ) -> None:
        array = value.detach().numpy().astype(np.float64)
        if masked:
            array = without_masked(array)
        size = float(np.linalg.norm(array))
        share = size if scale is None or size == 0.0 else max(size, float(scale))
        self.notes.append(_Note(name, block, ends, square, masked))
        self.values[name] = _Value(array.size, sketch(array), share)
