"""What the converter multiplied into a linear layer, and how to take it out again.

A linear layer behind a LayerNorm, W(γ·x + β) + b, is stored as one that reads x: Wγ and b + Wβ. Of
the attention's scale 1/√d, queries and keys carry a root each. Which layer is behind which
LayerNorm is seen when the model runs, so that no family's names are needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.targets.parameters import Floats

if TYPE_CHECKING:
    from export.families.plain import Plain

Doubles = npt.NDArray[np.float64]

# Queries and keys, by the last part of their names in every family.
_SCALED = ("q_lin", "k_lin", "query", "key", "q", "k")
_POWERS = (-0.25, -0.5, 0.0)
# Tokens of the run that shows what reads what.
_SHORT = 4
# A float32's last digit, relative to it.
_DIGIT = 2.0**-24


@dataclass(frozen=True, slots=True)
class Folding:
    """What one stored linear layer may hold besides its own parameters.

    Attributes:
        norm: name of the LayerNorm whose weight and bias are in it; empty for none.
        factor: that weight and bias were multiplied by.
    """

    norm: str
    factor: float

    @property
    def is_nothing(self) -> bool:
        """Whether the layer is stored as it is."""
        return not self.norm and self.factor == 1.0

    def folded(self, layer: str, originals: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """What a file should store for a layer: weight [out, in] and bias [out]."""
        weight, bias = layer_of(layer, originals)
        if self.is_nothing:
            return weight, bias
        gamma, beta = self._norm(originals, weight.shape[1])
        whole = weight.astype(np.float64)
        return (
            (whole * gamma * self.factor).astype(np.float32),
            ((bias + whole @ beta) * self.factor).astype(np.float32),
        )

    def slack(self, layer: str, originals: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """How far rounding may move what `folded` returns, if it was computed in float32."""
        weight, bias = layer_of(layer, originals)
        if self.is_nothing:
            return np.zeros_like(weight), np.zeros_like(bias)
        gamma, beta = self._norm(originals, weight.shape[1])
        whole = np.abs(weight.astype(np.float64))
        terms = weight.shape[1] if self.norm else 1
        return (
            (whole * np.abs(gamma) * (4 * _DIGIT * self.factor)).astype(np.float32),
            ((np.abs(bias) + whole @ np.abs(beta)) * (terms + 4) * _DIGIT * self.factor).astype(
                np.float32
            ),
        )

    def unfolded(
        self, layer: str, weight: Floats, bias: Floats, originals: Mapping[str, Floats]
    ) -> tuple[Floats, Floats]:
        """Weight and bias with which PyTorch, LayerNorm included, computes what a file does.

        Args:
            layer: its name.
            weight: as the file stores it, dense, [out, in].
            bias: likewise, [out].
            originals: parameters of the model. A column of which the LayerNorm lets nothing
                through cannot be told from the file and is taken from them.
        """
        if self.is_nothing:
            return weight, bias
        gamma, beta = self._norm(originals, weight.shape[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (weight / (gamma * self.factor)).astype(np.float32)
        own = np.where(gamma == 0, originals[f"{layer}.weight"], own)
        return own, (bias / self.factor - own.astype(np.float64) @ beta).astype(np.float32)

    def _norm(self, originals: Mapping[str, Floats], width: int) -> tuple[Doubles, Doubles]:
        if not self.norm:
            return np.ones(width), np.zeros(width)
        gamma, beta = originals[f"{self.norm}.weight"], originals[f"{self.norm}.bias"]
        return gamma.astype(np.float64), beta.astype(np.float64)


def layer_of(layer: str, originals: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """A linear layer's weight [out, in] and bias [out], which is 0 where it has none."""
    weight = originals[f"{layer}.weight"]
    bias = originals.get(f"{layer}.bias")
    return weight, np.zeros(len(weight), np.float32) if bias is None else bias


def foldings(layer: str, norms: Sequence[str], head_width: int) -> tuple[Folding, ...]:
    """What a layer may hold.

    Args:
        layer: such as ``distilbert.transformer.layer.0.attention.q_lin``.
        norms: LayerNorms that it is behind, of `norms_before`.
        head_width: channels of an attention head.
    """
    powers = _POWERS if layer.rpartition(".")[2] in _SCALED else (0.0,)
    known = dict.fromkeys((*norms, ""))
    return tuple(Folding(name, float(head_width) ** power) for name in known for power in powers)


def head_width(config: Any) -> int:
    """Channels of an attention head of a transformers configuration."""
    # MobileBERT's attention is in the bottleneck.
    width = getattr(config, "true_hidden_size", None) or config.hidden_size
    return int(width) // int(config.num_attention_heads)


def norms_before(plain: Plain) -> dict[str, tuple[str, ...]]:
    """Linear layer → the LayerNorms whose output it reads, or a slice of it, as names.

    A layer that runs several times may have several, and none where it reads something else.
    """
    written: dict[int, tuple[str, torch.Tensor]] = {}
    read: dict[str, list[str]] = defaultdict(list)

    def address(x: torch.Tensor) -> int:
        return x.untyped_storage().data_ptr()

    def note(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
            # The tensor is kept, so that its memory is nobody else's.
            written[address(output)] = (name, output)

        return hook

    def look(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            norm = written.get(address(inputs[0]))
            if norm is not None and norm[0] not in read[name]:
                read[name].append(norm[0])

        return hook

    handles = []
    for path, module in plain.module.named_modules():
        name = path.removeprefix(plain.root)
        if isinstance(module, torch.nn.LayerNorm):
            handles.append(module.register_forward_hook(note(name)))
        elif isinstance(module, torch.nn.Linear):
            handles.append(module.register_forward_pre_hook(look(name)))
    ids = torch.zeros((1, _SHORT), dtype=torch.int32)
    try:
        with torch.inference_mode():
            plain.module(ids, torch.ones_like(ids))
    finally:
        for handle in handles:
            handle.remove()
    return {name: tuple(norms) for name, norms in read.items()}
