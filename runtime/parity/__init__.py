"""Judges artifacts against the stored PyTorch reference, without torch.

from runtime.parity import compare, gate

gate("dist/tflite").verdict              # "pass", "fail" or "unknown"
compare(reference_logits, your_logits)   # every figure, for arrays of your own
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.parity.api import compare as compare
    from runtime.parity.api import gate as gate

__all__ = ["compare", "gate"]


def __getattr__(name: str) -> Any:
    # On first use only: what runs artifacts on an emulated processor has no scipy.
    if name in __all__:
        from runtime.parity import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
