"""What the inputs of linear layers look like, and how well integers can hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from export.reference import Reference

# How much of a channel's size moves into the weight: half of it (SmoothQuant, arXiv 2211.10438),
# or more where weights have room. The best of them is found by trying.
_SHARES = (0.5, 0.75)
# 2^16 is far above any outlier, and far from float32's ends.
_MOST = 16


@dataclass(frozen=True, slots=True)
class LinearInput:
    """A tensor that linear layers read.

    Attributes:
        readers: their names, sorted.
        texts: per text, float32 [tokens, channels].
        weights: of the readers, float32 [out, channels] each.
    """

    readers: tuple[str, ...]
    texts: list[torch.Tensor] = field(repr=False)
    weights: list[torch.Tensor] = field(repr=False)

    def error(self, divisor: torch.Tensor | None = None) -> float:
        """Squared error of the readers' integer products, summed over texts.

        Inputs have 256 steps between the extremes of a text, weights 127 to each side of 0 per
        output channel: the arithmetic of ONNX's DynamicQuantizeLinear. (LiteRT has a scale per
        token, which is finer.)

        Args:
            divisor: [channels]; None for ones.
        """
        by = torch.ones(self.weights[0].shape[1]) if divisor is None else divisor
        total = 0.0
        for weight in self.weights:
            steps = (weight * by).abs().amax(dim=1, keepdim=True) / 127
            steps = torch.where(steps == 0, 1.0, steps)
            stored = (weight * by / steps).round() * steps
            for text in self.texts:
                wrong = _quantized(text / by) @ stored.T - text @ weight.T
                total += float(wrong.double().square().sum())
        return total

    def best_divisor(self) -> tuple[torch.Tensor, float]:
        """Powers of two, [channels], and how many times smaller they make the error.

        Powers of two because multiplying by them rounds nothing: the function stays the same to
        the last bit.
        """
        plain = self.error()
        found = [(self.error(by), by) for by in map(self._candidate, _SHARES)]
        least, divisor = min(found, key=lambda pair: pair[0])
        return divisor, plain / least if least > 0 else 1.0

    def _candidate(self, share: float) -> torch.Tensor:
        inputs = torch.stack([text.abs().amax(dim=0) for text in self.texts]).amax(dim=0)
        weights = torch.stack([weight.abs().amax(dim=0) for weight in self.weights]).amax(dim=0)
        alive = (inputs > 0) & (weights > 0)
        size = torch.zeros_like(inputs)
        if not alive.any():
            return torch.ones_like(inputs)
        size[alive] = share * inputs[alive].log2() - (1 - share) * weights[alive].log2()
        # Only what sticks out of the rest matters: a factor common to all channels does nothing.
        power = (size - size[alive].median()).round().clamp(-_MOST, _MOST)
        return torch.where(alive, power, 0.0).exp2()


def linear_inputs(reference: Reference, sequences: Sequence[Sequence[int]]) -> list[LinearInput]:
    """Every tensor that linear layers read, in the order of the run.

    A layer that runs more than once, as ALBERT's, is left out: its runs would have to agree.

    Args:
        reference: it is run on the sequences, one at a time.
        sequences: ids with special tokens.
    """
    model: Any = reference.module.model
    texts: dict[str, list[torch.Tensor]] = {}
    sources: dict[str, torch.Tensor] = {}

    def look(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            seen = inputs[0].detach()
            # The first text's tensor is kept, so that its memory is nobody else's.
            sources.setdefault(name, seen)
            texts.setdefault(name, []).append(seen.reshape(-1, seen.shape[-1]))

        return hook

    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    handles = [m.register_forward_pre_hook(look(name)) for name, m in layers.items()]
    try:
        with torch.inference_mode():
            for ids in sequences:
                row = torch.tensor([list(ids)], dtype=torch.int32)
                reference.module(row, torch.ones_like(row))
    finally:
        for handle in handles:
            handle.remove()
    runs = Counter({name: len(seen) for name, seen in texts.items()})
    groups: dict[tuple[int, int, tuple[int, ...]], list[str]] = {}
    for name, source in sources.items():
        if runs[name] == len(sequences):
            place = source.untyped_storage().data_ptr(), int(source.storage_offset())
            groups.setdefault((*place, tuple(source.shape)), []).append(name)
    return [
        LinearInput(
            tuple(sorted(names)), texts[names[0]], [layers[n].weight.detach() for n in names]
        )
        for names in groups.values()
    ]


def _quantized(values: torch.Tensor) -> torch.Tensor:
    """The nearest of 256 values between the extremes of a tensor, 0 among them."""
    low, high = values.min().clamp(max=0.0), values.max().clamp(min=0.0)
    step = (high - low) / 255
    if step == 0:
        return values
    zero = (-low / step).round()
    return ((values / step + zero).round().clamp(0, 255) - zero) * step
