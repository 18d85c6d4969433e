"""What the converter multiplied into a linear layer, and how to take it out again.

A linear layer behind a LayerNorm, W(γ·x + β) + b, is stored as one that reads x: Wγ and b + Wβ. Of
the attention's scale 1/√d, queries and keys carry a root each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.targets.parameters import Floats

Doubles = npt.NDArray[np.float64]

_LAYER = re.compile(r"distilbert\.transformer\.layer\.(\d+)\.(attention\.[qkv]_lin|ffn\.lin1)")
_BLOCK = "distilbert.transformer.layer."
_SCALED = ("q_lin", "k_lin")
_POWERS = (-0.25, -0.5, 0.0)
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
        weight, bias = originals[f"{layer}.weight"], originals[f"{layer}.bias"]
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
        weight, bias = originals[f"{layer}.weight"], originals[f"{layer}.bias"]
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


def foldings(layer: str, layers: int, head_width: int) -> tuple[Folding, ...]:
    """What a layer may hold, the likeliest first.

    Args:
        layer: such as ``distilbert.transformer.layer.0.attention.q_lin``.
        layers: number of the model's blocks.
        head_width: channels of an attention head.
    """
    norm = _norm_before(layer, layers)
    powers = _POWERS if layer.endswith(_SCALED) else (0.0,)
    norms = (norm, "") if norm else ("",)
    return tuple(Folding(name, float(head_width) ** power) for name in norms for power in powers)


def _norm_before(layer: str, layers: int) -> str:
    """The LayerNorm whose output a linear layer of DistilBERT reads; empty for none."""
    if layer == "pre_classifier":
        return f"{_BLOCK}{layers - 1}.output_layer_norm"
    match = _LAYER.fullmatch(layer)
    if match is None:
        return ""
    number = int(match[1])
    if match[2] == "ffn.lin1":
        return f"{_BLOCK}{number}.sa_layer_norm"
    if number == 0:
        return "distilbert.embeddings.LayerNorm"
    return f"{_BLOCK}{number - 1}.output_layer_norm"
