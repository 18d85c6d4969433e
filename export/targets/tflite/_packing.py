"""A TFLite model as bytes, with everything that is equal written once.

flatbuffers' own Python packer repeats each table that several signatures share (a scale and a zero
point per row of the vocabulary, times the number of lengths) and does not align weights. Here equal
tables, vectors, strings and buffers are written once and referenced from every place, which the
format allows, and weights start at multiples of 16 bytes, which the schema demands.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.targets.tflite._flatbuffer import IDENTIFIER
from runtime.errors import UserError

_ALIGNMENT = 16
_LARGEST = 2**31 - 2**24  # flatbuffers' 2 GiB, less room for the graph


def packed(model: Any) -> bytearray:
    """Bytes of a ``ModelT``, which is left as it was; equal models give equal bytes.

    Raises:
        UserError: the model is above flatbuffers' 2 GiB.
    """
    pool = _Pool()
    out = _with_merged_buffers(model)
    for graph in out.subgraphs:
        graph.tensors = [pool.once(_with(t, "quantization", pool)) for t in graph.tensors]
        graph.operators = [pool.once(_with(o, "builtinOptions", pool)) for o in graph.operators]
    size = sum(0 if buffer.data is None else len(buffer.data) for buffer in out.buffers)
    if size > _LARGEST:
        raise UserError(f"the model has {size} bytes of weights", why="TFLite ends at 2 GiB")
    out.buffers = [_AlignedBuffer(buffer.data) for buffer in out.buffers]
    # A guess at the size spares the builder from doubling hundreds of megabytes.
    builder = _SharingBuilder(size + (1 << 20))
    builder.Finish(out.Pack(builder), file_identifier=IDENTIFIER)
    result: bytearray = builder.Output()
    return result


def _with(table: Any, field: str, pool: _Pool) -> Any:
    """A shallow copy of a table whose `field` is pooled."""
    out = copy.copy(table)
    setattr(out, field, pool.once(getattr(table, field)))
    return out


def _with_merged_buffers(model: Any) -> Any:
    """A copy of the tables with one buffer per content, in order of first use.

    Buffer 0 is empty by the schema, and stands for every tensor that is computed.
    """
    out = copy.copy(model)
    kept = [schema.BufferT()]
    number: dict[bytes, int] = {b"": 0}
    seen: dict[int, int] = {}

    def place(table: Any) -> Any:
        table = copy.copy(table)
        if table.buffer not in seen:
            content = _digest(model.buffers[table.buffer].data)
            if content not in number:
                number[content] = len(kept)
                kept.append(model.buffers[table.buffer])
            seen[table.buffer] = number[content]
        table.buffer = seen[table.buffer]
        return table

    out.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for graph in out.subgraphs:
        graph.tensors = [place(tensor) for tensor in graph.tensors]
    if model.metadata is not None:
        out.metadata = [place(entry) for entry in model.metadata]
    out.buffers = kept
    return out


def _digest(data: Any) -> bytes:
    """Stands for a buffer's content."""
    if data is None or len(data) == 0:
        return b""
    return hashlib.sha256(np.ascontiguousarray(data, dtype=np.uint8).data).digest()


class _Once:
    """A table that is packed at its first use and referenced afterwards."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._offset: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 - called by the generated code
        """Offset of the table."""
        if self._offset is None:
            self._offset = int(self._table.Pack(builder))
        return self._offset


class _Pool:
    """Equal tables → the same `_Once`."""

    def __init__(self) -> None:
        self._known: dict[Any, _Once] = {}

    def once(self, table: Any) -> _Once | None:
        if table is None:
            return None
        return self._known.setdefault(_key(table), _Once(table))


def _key(value: Any) -> Any:
    """A hashable that is equal for tables of equal content."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, list):
        return tuple(_key(item) for item in value)
    if hasattr(value, "__dict__") and not isinstance(value, _Once):
        fields = tuple((name, _key(item)) for name, item in sorted(vars(value).items()))
        return (type(value).__name__, fields)
    # A float and an int of one value, or a pooled table, which is one object per content.
    return (type(value).__name__, value)


class _AlignedBuffer:
    """Packs a buffer with its first byte at a multiple of 16."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def Pack(self, builder: _SharingBuilder) -> int:  # noqa: N802 - called by the generated code
        """Offset of the buffer's table."""
        vector = None
        if self._data is not None and len(self._data) > 0:
            vector = builder.write_bytes(np.ascontiguousarray(self._data, dtype=np.uint8))
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal strings and equal vectors of numbers once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateString(  # noqa: N802 - overrides
        self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """Offset of a string."""
        key = ("string", s.encode(encoding, errors) if isinstance(s, str) else s)
        if key not in self._written:
            self._written[key] = int(super().CreateString(s, encoding, errors))
        return self._written[key]

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 - overrides
        """Offset of a vector of numbers."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]

    def write_bytes(self, data: npt.NDArray[np.uint8]) -> int:
        """Offset of a new vector of bytes that is aligned to 16."""
        self.StartVector(1, len(data), _ALIGNMENT)
        self.head -= len(data)
        memoryview(self.Bytes)[self.head : self.head + len(data)] = data.data
        self.vectorNumElems = len(data)
        return int(self.EndVector())
