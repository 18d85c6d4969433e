"""A Core ML package taken apart for editing: its model as protobuf, its weight files as bytes."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np

from runtime.coreml_reference.blob import BLOB_TYPES
from runtime.coreml_reference.manifest import find_model
from runtime.coreml_reference.program import NUMPY_TYPES
from runtime.faults.coreml_messages import message_class
from runtime.faults.graph import Array, NotApplicable

_SENTINEL, _UNIT = 0xDEADBEEF, 64
_PREFIX = "@model_path/"
_CODES = {dtype: code for code, dtype in BLOB_TYPES.items()}


class EditablePackage:
    """The files of a package; `values` of the program are read and replaced through it.

    Attributes:
        block: the message of the block that is run.
    """

    def __init__(self, path: Path, opset: str) -> None:
        """Read the files; `opset` names the block.

        Raises:
            MissingExtraError: protobuf is not installed.
        """
        self._path = path
        self._model_file = find_model(path).relative
        self._model = message_class("Model")()
        self._model.ParseFromString((path / self._model_file).read_bytes())
        (entry,) = [e for e in self._model.mlProgram.functions if e.key == "main"]
        blocks = entry.value.block_specializations
        self.block = next(e.value for e in blocks if e.key == opset)
        self._weights: dict[str, bytearray] = {}
        self._written: list[tuple[Any, str, Array]] = []

    def keep(self, value: Any, dtype: str, array: Array) -> None:
        """Let `array`, changed or not by then, be what a Value holds when the package is saved."""
        self._written.append((value, dtype, array))

    def save(self, path: Path) -> None:
        """Write the package, whose folder must not exist yet."""
        for value, dtype, array in self._written:
            if value.immediateValue.HasField("tensor"):
                _put_immediate(value.immediateValue.tensor, dtype, array)
            else:
                self._put_blob(value, dtype, array)
        # Any operation may name any constant then.
        ordered = sorted(self.block.operations, key=lambda op: not _is_constant(op.type))
        copies = [type(op).FromString(op.SerializeToString()) for op in ordered]
        del self.block.operations[:]
        self.block.operations.extend(copies)
        shutil.copytree(self._path, path)
        (path / self._model_file).write_bytes(self._model.SerializeToString())
        for name, data in self._weights.items():
            (path / self._folder / name).write_bytes(data)

    def make_constant(self, operation: Any, dtype: str, array: Array) -> None:
        """Turn an operation that makes a weight from codes into a constant of its dense values."""
        operation.type = "const"
        del operation.inputs[:]
        kept = [entry for entry in operation.attributes if entry.key == "name"]
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
        del operation.attributes[:]
        operation.attributes.extend(copies)
        added = operation.attributes.add(key="val")
        added.value.type.CopyFrom(operation.outputs[0].type)
        added.value.blobFileValue.fileName = self._any_file()
        self.keep(added.value, dtype, array)

    @property
    def _folder(self) -> str:
        return self._model_file.rpartition("/")[0]

    def _blobs(self) -> list[Any]:
        values = [
            entry.value for operation in self.block.operations for entry in operation.attributes
        ]
        return [v.blobFileValue for v in values if v.HasField("blobFileValue")]

    def _any_file(self) -> str:
        found = [blob.fileName for blob in self._blobs() if blob.fileName]
        if not found:
            raise NotApplicable("the package has no weight file")
        return str(found[0])

    def _bytes(self, name: str) -> bytearray:
        name = name.removeprefix(_PREFIX)
        if name not in self._weights:
            self._weights[name] = bytearray((self._path / self._folder / name).read_bytes())
        return self._weights[name]

    def _put_blob(self, value: Any, dtype: str, array: Array) -> None:
        """Write an array where it was; to the end where it is new or shared with another value."""
        blob = value.blobFileValue
        data = self._bytes(blob.fileName)
        raw = np.ascontiguousarray(array, dtype=NUMPY_TYPES[dtype]).tobytes()
        places = [b.offset for b in self._blobs() if b.fileName == blob.fileName]
        if blob.HasField("offset") and places.count(blob.offset) == 1:
            size, start = struct.unpack_from("<QQ", data, blob.offset + 8)
            if size == len(raw):
                data[start : start + size] = raw
                return
        data.extend(bytes(-len(data) % _UNIT))
        blob.offset = len(data)
        start = len(data) + _UNIT
        head = struct.pack("<IIQQQ", _SENTINEL, _CODES[dtype], len(raw), start, 0)
        data.extend(head.ljust(_UNIT, b"\0") + raw)
        (count,) = struct.unpack_from("<I", data)
        struct.pack_into("<I", data, 0, count + 1)


def attribute(operation: Any, name: str) -> Any:
    """The Value of an operation's attribute.

    Raises:
        NotApplicable: it has none of that name.
    """
    for entry in operation.attributes:
        if entry.key == name:
            return entry.value
    raise NotApplicable(f"an operation {operation.type} has no {name}")


def _is_constant(kind: str) -> bool:
    return kind == "const" or kind.startswith("constexpr_")


def _put_immediate(tensor: Any, dtype: str, array: Array) -> None:
    flat = np.ascontiguousarray(array, dtype=NUMPY_TYPES[dtype]).reshape(-1)
    if dtype == "fp32":
        tensor.floats.values[:] = flat.tolist()
    elif dtype == "int32":
        tensor.ints.values[:] = flat.tolist()
    else:  # fp16 and the small integers
        tensor.bytes.values = flat.tobytes()
