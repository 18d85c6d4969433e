"""Weights as int4 in blocks, packed two in a byte (`runtime.sessions.onnx_packed`).

A matrix becomes int8 before it is multiplied, so that the product is that of int8 weights:

    byte ─ Cast ─┐
    multiple ─ Cast ─ Mul 256 ─ Add ─ Gather(table of products) ─ Transpose ─ Reshape ─ int8 matrix

All of this is constant: onnxruntime computes it once, when it makes a session, and then forgets
the packed form. Without optimizations it is computed in every run: right, but slow. Every step is
kept until the last one is done; of the ways that were tried to write it this one takes the least
memory, because numbers of more than eight bits are made for pairs of codes only.

A table's rows are unpacked after they were looked up:

    byte ─ Gather ─ Cast ─ Gather(table of codes) ─ Mul(scales, looked up alike) ─ Reshape
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from export.recipes import WeightsRule
from export.rounding.grid import Grid, grid_of
from export.targets.onnx._edit import lookup_like, new_constant, new_node
from runtime.sessions.onnx_packed import BYTES, code_pairs, pack, pack_linear, product_pairs

# A block's scale is 1 to 18 times its row's: export.rounding.grid.
LARGEST_MULTIPLE = 18
# Shared by all weights of a file.
PRODUCTS, CODES = "int4_products", "int4_codes"


def int4_matrix(
    graph: ir.Graph, name: str, array: npt.NDArray[np.float32], rule: WeightsRule
) -> tuple[ir.Value, list[ir.Node]]:
    """Store a matrix, [in, out], and the scales of its channels under ``name/scales``.

    Returns:
        the int8 matrix, [in, out], and the nodes that compute it from what is stored.

    Raises:
        UserError: `in` is no whole number of blocks, or a weight is not finite.
    """
    grid = grid_of(np.ascontiguousarray(array.T), rule, name)
    channels, multiples = split_scales(grid)
    packed = new_constant(graph, f"{name}/int4", pack_linear(grid.codes, rule.block))
    stored = new_constant(graph, f"{name}/multiples", multiples.T[:, None])
    new_constant(graph, f"{name}/scales", channels)
    table = new_constant(graph, PRODUCTS, product_pairs(LARGEST_MULTIPLE))
    stride = new_constant(graph, "int4_stride", np.array(BYTES, np.int32))
    shape = new_constant(graph, "shape_{}_{}".format(*array.shape), np.array(array.shape, np.int64))
    byte = new_node("Cast", [packed], f"{name}/bytes", to=ir.DataType.INT32)
    multiple = new_node("Cast", [stored], f"{name}/multiples/Cast", to=ir.DataType.INT32)
    start = new_node("Mul", [multiple.outputs[0], stride], f"{name}/multiples/Mul")
    where = new_node("Add", [byte.outputs[0], start.outputs[0]], f"{name}/Add")
    pairs = new_node("Gather", [table, where.outputs[0]], f"{name}/Gather")
    turned = new_node("Transpose", [pairs.outputs[0]], f"{name}/Transpose", perm=[0, 1, 3, 2])
    matrix = new_node("Reshape", [turned.outputs[0], shape], f"{name}/int8")
    return matrix.outputs[0], [byte, multiple, start, where, pairs, turned, matrix]


def int4_rows(
    graph: ir.Graph,
    node: ir.Node,
    name: str,
    table: str,
    array: npt.NDArray[np.float32],
    rule: WeightsRule,
    rank: int,
) -> list[ir.Node]:
    """Look up as `node` does, in int4, and unpack what was found.

    Args:
        graph: gets the constants that it does not have yet.
        node: a look-up of rows.
        name: of the result.
        table: its name.
        array: the table.
        rule: with blocks.
        rank: axes of the result.

    Raises:
        UserError: the columns are no whole number of blocks, or a weight is not finite.
    """
    stored = f"{table}/int4_rows"
    columns = array.shape[-1]
    if stored not in graph.initializers:
        grid = grid_of(array.reshape(-1, columns), rule, table)
        codes = grid.codes.reshape(array.shape)
        new_constant(graph, stored, pack(codes, rule.block))
        for suffix, part in _row_scales(grid, rule).items():
            new_constant(graph, f"{table}/{suffix}", part.reshape(*array.shape[:-1], -1, 1, 1))
    rows = lookup_like(node, graph.initializers[stored], f"{name}/rows")
    byte = new_node("Cast", [rows.outputs[0]], f"{name}/bytes", to=ir.DataType.INT32)
    pairs = new_constant(graph, CODES, code_pairs().astype(np.float32))
    codes_found = new_node("Gather", [pairs, byte.outputs[0]], f"{name}/codes")
    scale, new = _scales_found(graph, node, name, table)
    scaled = new_node("Mul", [codes_found.outputs[0], scale], f"{name}/Mul")
    # 0 keeps an axis as it is.
    shape = new_constant(
        graph, f"shape{'_0' * (rank - 1)}_{columns}", np.array([0] * (rank - 1) + [columns])
    )
    last = new_node("Reshape", [scaled.outputs[0], shape], name)
    return [rows, byte, codes_found, *new, scaled, last]


def split_scales(grid: Grid) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A grid's scales, float32 [rows, blocks], as those of its rows times whole numbers.

    The largest block of a row has the largest multiple, by which its scale is exactly divided.

    Returns:
        float32 [rows] and uint8 [rows, blocks].
    """
    rows = grid.scales.max(axis=1) / np.float32(LARGEST_MULTIPLE)
    rows[~grid.codes.any(axis=1)] = 1
    multiples = np.rint(grid.scales / rows[:, None])
    if not np.array_equal(multiples * rows[:, None], grid.scales):
        raise ValueError("the scales are no multiples of their rows'")
    return rows, multiples.astype(np.uint8)


def _row_scales(grid: Grid, rule: WeightsRule) -> dict[str, npt.NDArray[np.generic]]:
    """Suffix of the name → scales as they are stored."""
    if rule.scale == "multiple":
        rows, multiples = split_scales(grid)
        return {"row_scales": rows, "row_multiples": multiples}
    return {"row_scales": grid.scales.astype(rule.scale)}


def _scales_found(
    graph: ir.Graph, node: ir.Node, name: str, table: str
) -> tuple[ir.Value, list[ir.Node]]:
    """The scales of the rows that a node looks up, float32, and the nodes that find them."""
    stored = graph.initializers[f"{table}/row_scales"]
    found = lookup_like(node, stored, f"{name}/row_scales")
    new = [found]
    if stored.dtype != ir.DataType.FLOAT:
        new.append(new_node("Cast", [found.outputs[0]], f"{name}/scales", to=ir.DataType.FLOAT))
    multiples = graph.initializers.get(f"{table}/row_multiples")
    if multiples is not None:
        whole = lookup_like(node, multiples, f"{name}/row_multiples")
        cast = new_node("Cast", [whole.outputs[0]], f"{name}/multiples", to=ir.DataType.FLOAT)
        both = new_node("Mul", [cast.outputs[0], new[-1].outputs[0]], f"{name}/scales")
        new += [whole, cast, both]
    return new[-1].outputs[0], new
