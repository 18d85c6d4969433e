"""The kernels of every operation that the executor runs, in one table.

Each module enters its functions into `registry.KERNELS`; importing the package fills the table.
"""

from __future__ import annotations

from runtime.coreml_reference.kernels import (
    activations,
    convolution,
    elementwise,
    indexing,
    linear_algebra,
    normalisation,
    quantization,
    reductions,
    shaping,
)
from runtime.coreml_reference.kernels.registry import KERNELS

__all__ = [
    "CONSTANT_OPERATIONS",
    "KERNELS",
    "KNOWN_OPERATIONS",
    "activations",
    "convolution",
    "elementwise",
    "indexing",
    "linear_algebra",
    "normalisation",
    "quantization",
    "reductions",
    "shaping",
]

# Evaluated once, by `constants`.
CONSTANT_OPERATIONS = frozenset(
    {
        "const",
        "constexpr_affine_dequantize",
        "constexpr_blockwise_shift_scale",
        "constexpr_cast",
        "constexpr_lut_to_dense",
        "constexpr_lut_to_sparse",
        "constexpr_sparse_blockwise_shift_scale",
        "constexpr_sparse_to_dense",
    }
)

# `classify` gives a label and a dictionary, no tensors, so the executor has it itself.
KNOWN_OPERATIONS = frozenset({*KERNELS, *CONSTANT_OPERATIONS, "classify"})
