"""Rows of tables that are known at conversion: stored once for all signatures.

The converter knows the positions and the token types, and folds their lookups into a float constant
of [1, length, dim] per signature, which no quantizer touches. Here positions become lookups again,
in one table of the longest length, so that the table is stored once and quantized as any embedding;
and the one token type becomes one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where a constant comes from.

    Attributes:
        name: of the parameter, a table.
        first: row of the constant's first.
        repeated: every row of the constant is that one; otherwise the following ones follow.
    """

    name: str
    first: int
    repeated: bool


def share_tables(model: Any, parameters: Parameters) -> None:
    """Turn constants that are rows of a parameter into lookups, or into the one row.

    Args:
        model: ``ModelT``, changed in place.
        parameters: the reference's parameters by name.
    """
    found = [
        (graph, index, rows)
        for graph in model.subgraphs
        for index in range(len(graph.tensors))
        if (rows := _rows_of(model, graph, index, parameters)) is not None
    ]
    # From row 0, although RoBERTa's first position is row 2: the ids are then the model's own.
    longest: dict[str, int] = {}
    for graph, index, rows in found:
        count = 1 if rows.repeated else shape_of(graph.tensors[index])[-2]
        longest[rows.name] = max(longest.get(rows.name, 0), rows.first + count)
    stored = {n: add_buffer(model, parameters[n][:rows]) for n, rows in longest.items()}
    for graph, index, rows in found:
        shape = (longest[rows.name], parameters[rows.name].shape[1])
        table = _tensor(rows.name, "FLOAT32", shape, stored[rows.name])
        if rows.repeated and rows.first == 0 and shape[0] == 1:
            graph.tensors[index] = table  # broadcast by ADD
        else:
            _look_up(model, graph, index, table, rows)


def _rows_of(model: Any, graph: Any, index: int, parameters: Parameters) -> _Rows | None:
    """Which rows of which parameter a constant is, which must only be added."""
    tensor = graph.tensors[index]
    shape = shape_of(tensor)
    if type_name(tensor) != "FLOAT32" or not has_data(model, tensor):
        return None
    if len(shape) != 3 or shape[0] != 1 or shape[1] < 2:
        return None
    names = {
        operator_name(model.operatorCodes[operator.opcodeIndex])
        for operator in graph.operators
        if index in operator.inputs
    }
    if names != {"ADD"}:
        return None
    values = values_of(model, tensor)[0]
    repeated = bool((values == values[0]).all())
    for name, parameter in parameters.items():
        if parameter.ndim != 2 or parameter.shape[1] != shape[2]:
            continue
        for first in np.flatnonzero((parameter == values[0]).all(axis=1)):
            if repeated or np.array_equal(parameter[first : first + shape[1]], values):
                return _Rows(name, int(first), repeated)
    return None


def _look_up(model: Any, graph: Any, index: int, table: Any, which: _Rows) -> None:
    """Compute constant `index` of `graph` by a lookup in `table`."""
    rows, width = shape_of(graph.tensors[index])[1:]
    places = np.arange(which.first, which.first + rows, dtype=np.int32)
    ids = add_buffer(model, np.full_like(places, which.first) if which.repeated else places)
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
