"""ONNX graphs of one matrix product, written without the onnx package.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import numpy as np

from runtime.sessions.onnx_wire import field, number_field

_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6
# Opset 13 is in every runtime of the last five years and knows both operators.
_IR_VERSION, _OPSET = 7, 13


def product_model(inner: int, outer: int, precision: str) -> bytes:
    """A graph with the input ``a`` [rows, inner], a constant [inner, outer] and their product.

    Args:
        inner: length of the sums.
        outer: columns of the result.
        precision: ``float32`` for MatMul, ``int8`` for MatMulInteger of uint8 by int8, which is
            what a dynamically quantized linear layer runs.
    """
    rng = np.random.default_rng(0)
    if precision == "int8":
        weights = rng.integers(-127, 128, (inner, outer), dtype=np.int8).tobytes()
        operator, types = "MatMulInteger", (_UINT8, _INT8, _INT32)
    else:
        weights = rng.standard_normal((inner, outer), dtype=np.float32).tobytes()
        operator, types = "MatMul", (_FLOAT, _FLOAT, _FLOAT)
    node = field(1, b"a") + field(1, b"b") + field(2, b"c") + field(4, operator.encode())
    constant = number_field(1, inner) + number_field(1, outer) + number_field(2, types[1])
    constant += field(8, b"b") + field(9, weights)
    graph = field(1, node) + field(2, b"product") + field(5, constant)
    graph += field(11, _value("a", types[0], ("rows", inner)))
    graph += field(12, _value("c", types[2], ("rows", outer)))
    opset = number_field(2, _OPSET)
    return number_field(1, _IR_VERSION) + field(7, graph) + field(8, opset)


def _value(name: str, kind: int, shape: tuple[str | int, ...]) -> bytes:
    """A ValueInfoProto."""
    axes = b"".join(
        field(1, field(2, axis.encode()) if isinstance(axis, str) else number_field(1, axis))
        for axis in shape
    )
    tensor = number_field(1, kind) + field(2, axes)
    return field(1, name.encode()) + field(2, field(1, tensor))
