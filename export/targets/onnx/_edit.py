"""Small helpers for editing a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def constant_of(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array that a value always has, or None if it depends on the inputs."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array: npt.NDArray[Any] = value.const_value.numpy()
    return array


def new_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """The initializer with this name; made at the first call, found again at later ones."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


def new_node(
    op_type: str, inputs: list[ir.Value], name: str, outputs: int = 1, **attributes: Any
) -> ir.Node:
    """A node of the standard domain named `name`; its outputs are named after it."""
    node = ir.node(op_type, inputs, attributes, num_outputs=outputs, name=name)
    for index, value in enumerate(node.outputs):
        value.name = name if outputs == 1 else f"{name}:{index}"
    return node


def lookup_like(node: ir.Node, table: ir.Value, name: str) -> ir.Node:
    """The same look-up of rows as a Gather or a Slice makes, in another table."""
    where = [value for value in node.inputs[1:] if value is not None]
    attributes = {key: attribute.value for key, attribute in node.attributes.items()}
    return new_node(node.op_type, [table, *where], name, **attributes)
