"""Reads nodes and stored tensors of an ONNX file, without the onnx package and without a copy.

Field numbers and element types are those of onnx.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.sessions.onnx_wire import fields

Array = npt.NDArray[Any]
Data = mmap.mmap | bytes

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 12, 15
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_KIND, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_NUMBER, _ATTRIBUTE_TENSOR = 1, 3, 5
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9

_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
# Where elements are that are not in one row of bytes: as they are, or as numbers of variable
# length.
_FLAT: dict[int, np.dtype[Any]] = {4: np.dtype("<f4"), 10: np.dtype("<f8")}
_VARINTS = (5, 7, 11)
_NOTHING: Array = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNode:
    """One operation.

    Attributes:
        name: its own; may be empty.
        kind: operator, such as ``MatMul``.
        domain: of the operator, empty for the standard's.
        inputs, outputs: names of values; an optional one that is absent is empty.
        numbers: attribute → whole number.
        tensors: attribute → array.
        span: first byte of its message in the file and one past the last.
    """

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, int]
    tensors: Mapping[str, Array]
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """The main graph of a file.

    Attributes:
        nodes: in the order of execution.
        stored: initializers, name → array, read-only views into the file.
    """

    nodes: tuple[OnnxNode, ...]
    stored: Mapping[str, Array]

    def constants(self) -> dict[str, Array]:
        """Every tensor: initializers, and tensors that are attributes of nodes."""
        inside = {
            f"{node.outputs[0]}/{name}": array
            for node in self.nodes
            for name, array in node.tensors.items()
        }
        return {**self.stored, **inside}

    def fixed(self) -> dict[str, int]:
        """What is the same in every run: stored, or computed from nothing else.

        Returns:
            name → elements; of what is computed, of the largest that it is computed from.
        """
        sizes = {name: int(array.size) for name, array in self.stored.items()}
        for node in self.nodes:
            if node.inputs and all(name in sizes for name in node.inputs):
                sizes |= dict.fromkeys(node.outputs, max(sizes[name] for name in node.inputs))
        return sizes


def open_graph(path: Path) -> OnnxGraph:
    """Read a file; its weights stay in it until they are used.

    Raises:
        UserError: as `read_graph`, or the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read", why=str(error)) from error
    return read_graph(data, str(path))


def read_graph(data: Data, where: str) -> OnnxGraph:
    """Read a file's bytes, which the result refers to.

    Raises:
        UserError: not ONNX, damaged, or with tensors that this release cannot read; `where` is
            named.
    """
    nodes: list[OnnxNode] = []
    stored: dict[str, Array] = {}
    try:
        for number, first, last in fields(data, 0, len(data)):
            if number != MODEL_GRAPH:
                continue
            for part, start, end in fields(data, first, last):
                if part == GRAPH_NODE:
                    nodes.append(_node(data, start, end))
                elif part == GRAPH_INITIALIZER:
                    name, array = _tensor(data, start, end)
                    stored[name] = array
                elif part == GRAPH_SPARSE:
                    raise ValueError("it stores sparse tensors")
    except (ValueError, IndexError) as error:
        raise UserError(f"{where} cannot be read as ONNX", why=str(error)) from error
    return OnnxGraph(tuple(nodes), stored)


def _node(data: Data, start: int, end: int) -> OnnxNode:
    texts: dict[int, list[str]] = {}
    numbers: dict[str, int] = {}
    tensors: dict[str, Array] = {}
    for number, first, last in fields(data, start, end):
        if number == NODE_ATTRIBUTE:
            _attribute(data, first, last, numbers, tensors)
        elif number in (NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_KIND, NODE_DOMAIN):
            texts.setdefault(number, []).append(data[first:last].decode())
    name, kind, domain = (texts.get(key, [""])[-1] for key in (NODE_NAME, NODE_KIND, NODE_DOMAIN))
    inputs, outputs = (tuple(texts.get(key, ())) for key in (NODE_INPUT, NODE_OUTPUT))
    return OnnxNode(name, kind, domain, inputs, outputs, numbers, tensors, (start, end))


def _attribute(
    data: Data, start: int, end: int, numbers: dict[str, int], tensors: dict[str, Array]
) -> None:
    found = {number: (first, last) for number, first, last in fields(data, start, end)}
    first, last = found.get(_ATTRIBUTE_NAME, (0, 0))
    name = data[first:last].decode()
    if _ATTRIBUTE_NUMBER in found:
        numbers[name] = found[_ATTRIBUTE_NUMBER][0]
    if _ATTRIBUTE_TENSOR in found:
        tensors[name] = _tensor(data, *found[_ATTRIBUTE_TENSOR])[1]


def _tensor(data: Data, start: int, end: int) -> tuple[str, Array]:
    found: dict[int, list[tuple[int, int]]] = {}
    for number, first, last in fields(data, start, end):
        found.setdefault(number, []).append((first, last))
    name = "".join(data[first:last].decode() for first, last in found.get(_NAME, ())[-1:])
    kind = found[_TYPE][-1][0] if _TYPE in found else 0
    if kind not in _TYPES:
        raise ValueError(f"{name} has the element type {kind}, which this release does not know")
    dtype = np.dtype(_TYPES[kind]).newbyteorder("<")
    shape = [int(size) for span in found.get(_DIMS, ()) for size in _whole_numbers(data, *span)]
    if _RAW in found:
        first, last = found[_RAW][-1]
        # An empty array has no place in the file.
        flat = np.frombuffer(data, np.uint8, last - first, first) if last > first else _NOTHING
        if flat.size % dtype.itemsize:
            raise ValueError(f"{name} has {flat.size} bytes")
        flat = flat.view(dtype)
    else:
        flat = _converted(data, found, dtype)
    if flat.size != math.prod(shape):
        raise ValueError(f"{name} has {flat.size} elements for the shape {shape}")
    return name, flat.reshape(shape)


def _converted(data: Data, found: Mapping[int, list[tuple[int, int]]], dtype: Any) -> Array:
    """Elements that are stored as wider numbers; half floats are stored as their bits."""
    pieces = [np.frombuffer(data[slice(*s)], _FLAT[n]) for n in _FLAT for s in found.get(n, ())]
    pieces += [_whole_numbers(data, *s) for n in _VARINTS for s in found.get(n, ())]
    whole = np.concatenate(pieces) if pieces else np.empty(0, dtype)
    if dtype == np.float16 and whole.dtype.kind == "i":
        return whole.astype("<u2").view(dtype)
    return whole.astype(dtype)


def _whole_numbers(data: Data, first: int, last: int) -> npt.NDArray[np.int64]:
    """Numbers of variable length, or the one that `fields` gives twice."""
    if first == last:
        return np.array([first], np.uint64).view(np.int64)
    found = np.frombuffer(data[first:last], np.uint8)
    ends = found < 128
    if not ends[-1]:
        raise ValueError("a number runs over its message")
    which: npt.NDArray[np.int64] = np.cumsum(ends) - ends
    starts = np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))
    shifts = 7 * (np.arange(len(found)) - starts[which])
    numbers = np.zeros(int(ends.sum()), np.uint64)
    np.bitwise_or.at(numbers, which, (found & 127).astype(np.uint64) << shifts.astype(np.uint64))
    return numbers.view(np.int64)
