"""Weights as int8: one scale per output channel of a linear layer, or per row of a table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from export.recipes import WeightsRule
from export.targets.onnx._edit import lookup_like, new_constant, new_node
from runtime.errors import UserError

# AVX2 without VNNI adds two products of an unsigned activation and a signed weight in 16 bits:
# 2 · 255 · 64 fits, 2 · 255 · 127 does not (onnxruntime#14642). onnxruntime's reduce_range.
_REDUCED_LARGEST, _LARGEST = 64, 127


def int8_of(
    weight: npt.NDArray[np.float32], axis: int, *, largest: int = _LARGEST
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8: the largest magnitude along `axis` becomes `largest`, zero stays zero.

    Args:
        weight: float32, any shape.
        axis: the axis that shares a scale.
        largest: at most 127.

    Returns:
        int8 in [-largest, largest] of the same shape, and float32 scales with `axis` kept as 1, so
        that their product is about `weight`. Zeros alone get the scale 1.

    Raises:
        UserError: a weight is not finite.
    """
    peaks = np.abs(weight).max(axis=axis, keepdims=True)
    if not np.isfinite(peaks).all():
        raise UserError("a weight is NaN or infinite", todo="train the model again")
    scales = (peaks / np.float32(largest)).astype(np.float32)
    # The smallest denormals divide to 0.
    scales[scales == 0] = 1
    # -128 has no positive twin, so it is not used.
    return np.clip(np.rint(weight / scales), -largest, largest).astype(np.int8), scales


def int8_matrix(
    graph: ir.Graph, name: str, array: npt.NDArray[np.float32], rule: WeightsRule
) -> tuple[ir.Value, list[ir.Node]]:
    """Store a matrix, [in, out], and the scales of its channels under ``name/scales``."""
    largest = _REDUCED_LARGEST if rule.reduce_range else _LARGEST
    codes, scales = int8_of(array, axis=0, largest=largest)
    matrix = new_constant(graph, f"{name}/int8", codes)
    new_constant(graph, f"{name}/scales", scales[0])
    return matrix, []


def int8_rows(
    graph: ir.Graph, node: ir.Node, name: str, table: str, array: npt.NDArray[np.float32]
) -> list[ir.Node]:
    """Look up as `node` does, in int8, and scale what was found.

    Args:
        graph: gets the constants that it does not have yet.
        node: a look-up of rows.
        name: of the result.
        table: its name.
        array: the table.
    """
    stored = f"{table}/int8_rows"
    if stored not in graph.initializers:
        codes, scales = int8_of(array, axis=-1)
        new_constant(graph, stored, codes)
        new_constant(graph, f"{table}/row_scales", scales)
    rows = lookup_like(node, graph.initializers[stored], f"{name}/rows")
    scale = lookup_like(node, graph.initializers[f"{table}/row_scales"], f"{name}/row_scales")
    cast = new_node("Cast", [rows.outputs[0]], f"{name}/Cast", to=ir.DataType.FLOAT)
    return [rows, scale, cast, new_node("Mul", [cast.outputs[0], scale.outputs[0]], name)]
