"""Activations as runtimes round them before an integer product, in torch.

Each function gives back what the runtime's integers stand for, float32 of the same shape, and lets
gradients pass as if nothing had been rounded: the range always holds every number, so that none is
cut off.
"""

from __future__ import annotations

import torch

_STEPS = 255


def per_text(values: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
    """ONNX's DynamicQuantizeLinear, on one text at a time as a phone runs them.

    256 steps from the smallest to the largest number of the tensor, 0 among them: scale =
    (max - min) / 255, zero point = -min / scale to the nearest, ties to even (ONNX, operators,
    DynamicQuantizeLinear-11).

    Args:
        values: float32 [texts, …]; each text has a scale of its own.
        counts: bool [texts, length] of values [texts, length, channels]: what is padding plays no
            part in the range, since an unpadded text has none. None counts everything.
    """
    flat = values.detach().flatten(1)
    if counts is not None:
        # 0 lies in every range, so padding that is 0 moves none.
        flat = values.detach().masked_fill(~counts[:, :, None], 0.0).flatten(1)
    shape = (-1, *[1] * (values.dim() - 1))
    low = flat.amin(dim=1).clamp(max=0.0).reshape(shape)
    high = flat.amax(dim=1).clamp(min=0.0).reshape(shape)
    # Divided by tensors everywhere: by a number, torch may multiply with its inverse instead.
    scale = (high - low) / torch.full_like(low, _STEPS)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).round().clamp(0, _STEPS)
    codes = ((values.detach() / scale).round() + zero).clamp(0, _STEPS)
    return _through(values, (codes - zero) * scale)


def per_token(values: torch.Tensor) -> torch.Tensor:
    """XNNPACK's int8 activations, which LiteRT uses: a range for every row of a product.

    256 steps from the smallest to the largest number of the row, 0 among them, as codes from -128
    (XNNPACK, ``xnn_f32_qd8_asymmetric_quantization_params``): the zero point is taken from the end
    of the range whose rounding error is the smaller.

    Args:
        values: float32 [..., channels].
    """
    seen = values.detach()
    low = seen.amin(dim=-1, keepdim=True).clamp(max=0.0)
    high = seen.amax(dim=-1, keepdim=True).clamp(min=0.0)
    # Divided by tensors: by a number, torch may multiply with its inverse instead.
    one = torch.ones_like(low)
    steps = torch.where(low == high, one, torch.full_like(low, _STEPS) / (high - low))
    from_low, from_high = low * steps, high * steps
    zero = torch.where((-128 + from_low) + (127 + from_high) > 0, -128 - from_low, 127 - from_high)
    zero = zero.clamp(-128, 127).round()
    codes = ((seen * steps).round() + zero).clamp(-128, 127)
    return _through(values, (codes - zero) * (one / steps))


def _through(values: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """`stored` forth; back, the gradient of `values`."""
    # Not values + (stored - values), which would round once more.
    out: torch.Tensor = _Straight.apply(values, stored)  # type: ignore[no-untyped-call]
    return out


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return stored

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004
        return gradients[0], None
