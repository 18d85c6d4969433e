"""TFLite's flatbuffer as Python objects, read only after the runtime's verifier agreed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from runtime.errors import UserError
from runtime.sessions.litert_file import operator_name as builtin_operator_name
from runtime.sessions.litert_file import text, type_name

IDENTIFIER = b"TFL3"

_DTYPES: dict[str, type] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def load(path: Path) -> Any:
    """Read a file into the schema's ``ModelT``; weights are views of the file's bytes.

    Raises:
        UserError: the file cannot be read, or the runtime's verifier refuses it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    return parse(data, str(path))


def parse(data: bytes | bytearray, origin: str) -> Any:
    """As `load`, from bytes; `origin` names them in messages."""
    # The generated reader follows offsets blindly; the runtime's verifier checks each one first.
    if data[4:8] != IDENTIFIER or not _verified(bytes(data)):
        raise UserError(
            f"{origin} is not a TFLite file, or it is damaged",
            todo="export it again, or copy it again",
        )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        _bring_in(buffer, data, origin)
    return model


def _bring_in(buffer: Any, data: bytes | bytearray, origin: str) -> None:
    """Make a buffer whose content follows the flatbuffer look like any other.

    The quantizer writes large files that way. A reader that overlooks it sees no weights at all.
    """
    if buffer.size == 0 or buffer.offset <= 1:
        return
    if buffer.offset + buffer.size > len(data):
        raise UserError(f"{origin} is cut short", todo="export it again, or copy it again")
    buffer.data = np.frombuffer(data, np.uint8, int(buffer.size), int(buffer.offset))
    buffer.offset = buffer.size = 0


def _verified(data: bytes) -> bool:
    try:
        Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError) as error:
        # The file is whole if all that is wrong is an operator that this runtime lacks.
        return "find op for builtin" in str(error)
    return True


def operator_name(code: Any) -> str:
    """Name of an operator code, such as ``FULLY_CONNECTED``; a custom one's own name."""
    name = builtin_operator_name(code)
    return text(code.customCode) if name == "CUSTOM" else name


def shape_of(tensor: Any) -> tuple[int, ...]:
    """A tensor's shape as Python integers."""
    return () if tensor.shape is None else tuple(int(axis) for axis in tensor.shape)


def uses(model: Any) -> Iterator[tuple[Any, Any, str]]:
    """Every operator of the model: (subgraph, operator, operator name)."""
    names = [operator_name(code) for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield graph, operator, names[operator.opcodeIndex]


def has_data(model: Any, tensor: Any) -> bool:
    """Whether a tensor is stored in the file and not computed."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def values_of(model: Any, tensor: Any) -> npt.NDArray[Any]:
    """A stored tensor as an array; a view, not a copy.

    Raises:
        KeyError: a type that numpy does not have, such as int4.
    """
    raw = np.asarray(model.buffers[tensor.buffer].data, dtype=np.uint8)
    return raw.view(_DTYPES[type_name(tensor)]).reshape(shape_of(tensor))


def add_buffer(model: Any, values: npt.NDArray[Any]) -> int:
    """Store an array in a new buffer; returns its number."""
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    model.buffers.append(schema.BufferT(data=raw))
    return len(model.buffers) - 1
