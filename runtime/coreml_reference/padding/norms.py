"""Bounds on what a matrix makes of a vector."""

from __future__ import annotations

import math

import numpy as np

from runtime.coreml_reference.program import Array


def largest_of(values: Array) -> float:
    """Largest absolute value; NaN if one is NaN."""
    # The lowest integer has no absolute value of its own type.
    floats = values if values.dtype.kind == "f" else values.astype(np.float64)
    return float(np.max(np.abs(floats), initial=0.0))


def row_norms(values: Array) -> float:
    """Length of the longest row; NaN if an element is NaN.

    Args:
        values: (rows, columns).
    """
    squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    return math.sqrt(float(np.max(squares, initial=0.0)))


def spectral_bound(weight: Array) -> float:
    """An upper bound on how much longer a matrix makes a vector: its Schatten 8-norm.

    (Σ σ⁸)^⅛ is at least the largest singular value, and at most 2.3 times it for 768 of them. Σ σ⁸
    is the squared Frobenius norm of (W·Wᵀ)².

    Args:
        weight: (out, in), floats.
    """
    scale = largest_of(weight)
    if not 0.0 < scale < math.inf:
        return scale
    unit = (weight if weight.shape[0] <= weight.shape[1] else weight.T) / scale
    gram = unit @ unit.T
    return scale * math.sqrt(math.sqrt(float(np.linalg.norm(gram @ gram))))
