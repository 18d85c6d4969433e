"""Position embeddings: one table for all signatures instead of a constant in each.

The converter knows the positions at conversion time and folds the lookup into a float constant of
[1, length, dim] per signature, which no quantizer touches. Here the constants become lookups again,
in one table of the longest length, so that the table is stored once and quantized as any embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.targets.tflite._flatbuffer import (
    add_buffer,
    has_data,
    operator_name,
    shape_of,
    values_of,
)
from runtime.sessions.litert_file import type_name

Parameters = Mapping[str, npt.NDArray[np.float32]]


def share_positions(model: Any, parameters: Parameters) -> None:
    """Turn constants that are the first rows of a parameter back into lookups.

    Args:
        model: ``ModelT``, changed in place.
        parameters: the reference's parameters by name.
    """
    found = [
        (graph, index, name)
        for graph in model.subgraphs
        for index in range(len(graph.tensors))
        if (name := _table_of(model, graph, index, parameters)) is not None
    ]
    longest: dict[str, int] = {}
    for graph, index, name in found:
        longest[name] = max(longest.get(name, 0), shape_of(graph.tensors[index])[-2])
    stored = {n: add_buffer(model, parameters[n][:rows]) for n, rows in longest.items()}
    for graph, index, name in found:
        shape = (longest[name], parameters[name].shape[1])
        _look_up(model, graph, index, _tensor(name, "FLOAT32", shape, stored[name]))


def _table_of(model: Any, graph: Any, index: int, parameters: Parameters) -> str | None:
    """Name of the parameter whose first rows are this constant, which must only be added."""
    tensor = graph.tensors[index]
    shape = shape_of(tensor)
    if type_name(tensor) != "FLOAT32" or not has_data(model, tensor):
        return None
    if len(shape) != 3 or shape[0] != 1:
        return None
    names = {
        operator_name(model.operatorCodes[operator.opcodeIndex])
        for operator in graph.operators
        if index in operator.inputs
    }
    if names != {"ADD"}:
        return None
    values = values_of(model, tensor)[0]
    for name, parameter in parameters.items():
        fits = parameter.ndim == 2 and parameter.shape[1] == shape[2]
        if fits and np.array_equal(parameter[: shape[1]], values):
            return name
    return None


def _look_up(model: Any, graph: Any, index: int, table: Any) -> None:
    """Compute constant `index` of `graph` by a lookup of rows 0, 1, 2 … of `table`."""
    rows, width = shape_of(graph.tensors[index])[1:]
    ids = add_buffer(model, np.arange(rows, dtype=np.int32))
    graph.tensors += [_tensor("positions", "INT32", (rows,), ids), table]
    # [length, dim] and not [1, length, dim]: a lookup's output has no batch, and ADD broadcasts.
    graph.tensors[index] = _tensor(f"{table.name}/lookup", "FLOAT32", (rows, width), 0)
    lookup = schema.OperatorT(
        opcodeIndex=_lookup_code(model),
        inputs=np.array([len(graph.tensors) - 2, len(graph.tensors) - 1], dtype=np.int32),
        outputs=np.array([index], dtype=np.int32),
    )
    graph.operators.insert(0, lookup)


def _tensor(name: str, kind: str, shape: tuple[int, ...], buffer: int) -> Any:
    return schema.TensorT(
        name=name,
        type=getattr(schema.TensorType, kind),
        shape=np.array(shape, dtype=np.int32),
        buffer=buffer,
        hasRank=True,
    )


def _lookup_code(model: Any) -> int:
    """Index of EMBEDDING_LOOKUP in the operator codes, appended if there is none yet."""
    number = schema.BuiltinOperator.EMBEDDING_LOOKUP
    for index, code in enumerate(model.operatorCodes):
        if operator_name(code) == "EMBEDDING_LOOKUP":
            return index
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=1)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
