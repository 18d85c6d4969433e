"""Reads a TFLite file into its schema's objects and writes it back, with LiteRT's own schema."""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import MissingExtraError

Array = npt.NDArray[Any]

# What is appended to a tensor's name for what belongs to it.
SCALE, ZERO_POINT, _AXIS, _BLOCK = "/scale", "/zero_point", "/axis", "/block"

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
# Room for all that is no weight, scales included; more would make the builder double itself.
_GRAPH_BYTES = 1 << 24
_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "flatbuffers": "flatbuffers"}
_DTYPES: dict[str, type] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def missing(
    purpose: str = "looking into TFLite files", extra: str = "tflite"
) -> MissingExtraError | None:
    """What is not installed, as an error to raise or to show."""
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            return MissingExtraError(package, extra=extra, purpose=purpose)
    return None


def schema() -> Any:
    """The module of the schema's classes.

    Raises:
        MissingExtraError: it is not installed.
    """
    if (error := missing()) is not None:
        raise error
    return import_module("ai_edge_litert.schema_py_generated")


def load(path: Path) -> Any:
    """A file that the runtime runs, as a ``ModelT``; weights are views of the mapped file.

    Raises:
        MissingExtraError: the schema is not installed.
    """
    classes = schema()
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    model = classes.ModelT.InitFromObj(classes.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        if buffer.size and buffer.offset > 1:  # content that follows the flatbuffer
            buffer.data = np.frombuffer(data, np.uint8, int(buffer.size), int(buffer.offset))
            buffer.offset = buffer.size = 0
    return model


def save(model: Any, path: Path) -> None:
    """Write a model; unused buffers are left empty, and equal ones are written once."""
    flatbuffers = import_module("flatbuffers")
    used: dict[bytes, int] = {}
    place: dict[int, int] = {}
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for holder in (*holders, *(model.metadata or ())):
        data = model.buffers[holder.buffer].data
        if data is None or len(data) == 0:
            continue
        if holder.buffer not in place:
            digest = hashlib.sha256(np.ascontiguousarray(data, dtype=np.uint8).data).digest()
            place[holder.buffer] = used.setdefault(digest, holder.buffer)
        holder.buffer = place[holder.buffer]
    kept = set(used.values())
    buffers = [b.data if i in kept else None for i, b in enumerate(model.buffers)]
    size = sum(len(data) for data in buffers if data is not None)
    original = model.buffers
    model.buffers = [_Buffer(data) for data in buffers]
    builder = flatbuffers.Builder(size + _GRAPH_BYTES)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    model.buffers = original
    path.unlink(missing_ok=True)  # the model may be views of this very file
    with path.open("wb") as stream:
        stream.write(memoryview(builder.Bytes)[builder.Head() :])


def text(name: bytes | str | None) -> str:
    """A flatbuffer string, which the reader returns as bytes."""
    if name is None:
        return ""
    return name if isinstance(name, str) else name.decode("utf-8", errors="replace")


def operator_name(code: Any) -> str:
    """Name of an operator code, such as ``FULLY_CONNECTED``."""
    return builtin_name(code.builtinCode, code.deprecatedBuiltinCode)


def builtin_name(number: int, deprecated: int) -> str:
    """As `operator_name`; old writers left the number in the deprecated 8-bit field."""
    number = max(number, deprecated)
    return _names("BuiltinOperator").get(number, f"UNKNOWN_{number}")


def type_name(tensor: Any) -> str:
    """Name of a tensor's type, such as ``FLOAT32``."""
    return _names("TensorType").get(int(tensor.type), f"UNKNOWN_{tensor.type}")


def values_of(model: Any, tensor: Any) -> Array | None:
    """A stored tensor as a view of the file; None for one that is computed.

    A type that numpy does not have, such as int4, is given as uint8 bytes in one row; so is what
    does not fit its shape.
    """
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0:
        return None
    raw: Array = np.asarray(data, dtype=np.uint8)
    shape = () if tensor.shape is None else tuple(int(axis) for axis in tensor.shape)
    dtype = np.dtype(_DTYPES.get(type_name(tensor), np.void))
    if raw.size != math.prod(shape) * dtype.itemsize:
        return raw
    return raw.view(dtype).reshape(shape)


def constants(model: Any) -> dict[str, Array]:
    """Everything that is stored, by name: tensors, their scales and their zero points.

    Signatures call what they share by one name, which is here once. What differs in a later one
    has the signature's name behind an ``@``. A scale of the tensor NAME is called NAME/scale, as is
    the tensor of the scales of its blocks.

    Args:
        model: ``ModelT``.

    Returns:
        views of the file.
    """
    signatures = {s.subgraphIndex: text(s.signatureKey) for s in model.signatureDefs or ()}
    found: dict[str, Array] = {}
    for number, graph in enumerate(model.subgraphs):
        for name, values in _constants_of(model, graph):
            shared = name not in found or same_values(found[name], values)
            key = name if shared else f"{name}@{signatures.get(number, number)}"
            found[key] = values
    return found


def _constants_of(model: Any, graph: Any) -> Iterator[tuple[str, Array]]:
    names: set[str] = set()
    # Scales of blocks are named by what they belong to, whatever the file calls them.
    scales = {
        int(tensor.quantization.details.scales): text(tensor.name) + SCALE
        for tensor in graph.tensors
        if getattr(tensor.quantization and tensor.quantization.details, "blockSize", 0)
    }
    for index, tensor in enumerate(graph.tensors):
        values = values_of(model, tensor)
        if values is None:
            continue
        name = scales.get(index, text(tensor.name))
        # The format lets two tensors have one name.
        name = f"{name}#{index}" if name in names else name
        names.add(name)
        yield name, values
        quantization = tensor.quantization
        if quantization is None:
            continue
        if block := getattr(quantization.details, "blockSize", 0):
            axis = int(quantization.quantizedDimension)
            yield name + _BLOCK, np.array([block, axis], dtype=np.int32)
        if quantization.scale is not None:
            yield name + SCALE, np.asarray(quantization.scale, dtype=np.float32)
            yield name + _AXIS, np.array(quantization.quantizedDimension, dtype=np.int32)
            if quantization.zeroPoint is not None:
                yield name + ZERO_POINT, np.asarray(quantization.zeroPoint, dtype=np.int64)


def same_values(one: Array, other: Array) -> bool:
    """Whether two constants are equal, NaN included; views of one buffer are not read."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.__array_interface__["data"] == other.__array_interface__["data"]:
        return True
    return one.tobytes() == other.tobytes()


@cache
def _names(enumeration: str) -> dict[int, str]:
    members = vars(getattr(schema(), enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


class _Buffer:
    """Packs a buffer with its first byte at a multiple of 16, which the schema demands."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - called by the generated code
        classes, vector = schema(), None
        if self._data is not None:
            data = np.ascontiguousarray(self._data, dtype=np.uint8)
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            memoryview(builder.Bytes)[builder.head : builder.head + len(data)] = data.data
            builder.vectorNumElems = len(data)
            vector = builder.EndVector()
        classes.BufferStart(builder)
        if vector is not None:
            classes.BufferAddData(builder, vector)
        return int(classes.BufferEnd(builder))
