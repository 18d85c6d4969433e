"""Finds the scales of stored integers by the use that a graph makes of them, whatever their names.

Packed weights are found alike: bytes that are an index into a table of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from export.targets.onnx._edit import constant_of

# What may stand between stored integers and the product with their scales, and between stored
# scales and that product.
_BEFORE_SCALING = {"MatMulInteger", "Gather", "Slice", "Cast"}
_SCALE_PATH = {"Mul", "Gather", "Slice", "Cast"}
_LOOKUPS = {"Gather", "Slice"}
_PLACES = (ir.DataType.INT32, ir.DataType.INT64)


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """Two codes in each byte.

    Attributes:
        shape: of the codes, as the arithmetic sees them.
        role: ``linear`` or ``embedding``.
        scales: initializers that scales are stored in, and multiples of them.
        table: that unpacks it.
    """

    shape: tuple[int, ...]
    role: str
    scales: tuple[ir.Value, ...]
    table: ir.Value


def packed_weight(value: ir.Value) -> PackedWeight | None:
    """How stored bytes are used, if they are packed codes."""
    array = constant_of(value)
    if array is None or value.dtype != ir.DataType.UINT8 or array.ndim < 3:
        return None
    lookup = _reader(value, _LOOKUPS)
    cast = _reader(lookup.outputs[0] if lookup is not None else value, {"Cast"})
    if cast is None:
        return None
    index = cast.outputs[0]
    scales: tuple[ir.Value, ...] = ()
    if lookup is None and (offset := _reader(index, {"Add"})) is not None:
        scales, index = _other_origins(offset, index), offset.outputs[0]
    unpacking = _reader(index, {"Gather"})
    table = unpacking.inputs[0] if unpacking is not None else None
    pairs = constant_of(table)
    if unpacking is None or table is None or pairs is None or pairs.shape[1:] != (2,):
        return None
    if lookup is not None:
        scaling = _reader(unpacking.outputs[0], {"Mul"})
        if scaling is not None:
            scales = _other_origins(scaling, unpacking.outputs[0])
        *rows, blocks, half = array.shape
        return PackedWeight((*rows, blocks * half * 2), "embedding", scales, table)
    blocks, half, out = array.shape
    turned = _reader(unpacking.outputs[0], {"Transpose"})
    matrix = _reader(turned.outputs[0], {"Reshape"}) if turned is not None else None
    if matrix is None:
        return None
    scales += scales_of(matrix.outputs[0])
    return PackedWeight((blocks * half * 2, out), "linear", scales, table)


def scales_of(value: ir.Value) -> tuple[ir.Value, ...]:
    """The initializers that integers are multiplied with; none for floats."""
    if value.dtype not in (None, ir.DataType.INT8, ir.DataType.UINT8):
        return ()
    current = value
    for _ in range(len(_BEFORE_SCALING)):
        scaling = _reader(current, {"Mul"})
        if scaling is not None:
            return _other_origins(scaling, current)
        following = _reader(current, _BEFORE_SCALING)
        if following is None:
            return ()
        current = following.outputs[0]
    return ()


def _reader(value: ir.Value, kinds: set[str]) -> ir.Node | None:
    return next((node for node, _ in value.uses() if node.op_type in kinds), None)


def _other_origins(node: ir.Node, value: ir.Value) -> tuple[ir.Value, ...]:
    """The numbers behind the other input of a node with two."""
    other = node.inputs[0] if node.inputs[1] is value else node.inputs[1]
    # Whole numbers of this width say where in a table, not how large.
    return tuple(origin for origin in _origins(other) if origin.dtype not in _PLACES)


def _origins(value: ir.Value | None) -> tuple[ir.Value, ...]:
    """The initializers behind a scale, through lookups and the product with x's own scale."""
    if value is None:
        return ()
    if value.is_initializer():
        return (value,)
    node = value.producer()
    if node is None or node.op_type not in _SCALE_PATH:
        return ()
    # A lookup's other inputs say where, not what.
    sources = node.inputs if node.op_type == "Mul" else node.inputs[:1]
    return tuple(origin for source in sources for origin in _origins(source))
