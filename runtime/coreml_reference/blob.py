"""Reads weight files in Apple's MIL blob storage format, version 2.

Layout, all little-endian (MILBlob/Blob/StorageFormat.hpp of coremltools): a header of 64 bytes
(uint32 number of blobs, uint32 version, reserved), then for each blob 64 bytes of metadata (uint32
sentinel 0xDEADBEEF, uint32 element type, uint64 size in bytes, uint64 offset of the data in the
file, uint64 padding bits, reserved) and its data, each starting at a multiple of 64 bytes.
"""

from __future__ import annotations

import contextlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.coreml_reference.files import StoredFile, check_path, find_file
from runtime.coreml_reference.packing import BITS, from_bytes
from runtime.coreml_reference.program import Array, CoreMLError, TensorType
from runtime.coreml_reference.wire import shown

# BlobDataType.hpp; bool, fp64 and the 64-bit integers have no number there.
BLOB_TYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}
_REFUSED = {5: "bf16", 16: "fp8 (E4M3FN)", 17: "fp8 (E5M2)"}
_SENTINEL = 0xDEADBEEF
_UNIT = 64
_MOST_FILES = 64
_MODEL_PATH = "@model_path/"


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob: where its data lies, and how many bytes it has."""

    file: StoredFile
    dtype: str
    offset: int
    size: int
    padding_bits: int


@dataclass(frozen=True, slots=True)
class BlobLoader:
    """Reads a blob's data each time it is called; the result is read-only."""

    blob: Blob
    shape: tuple[int, ...]

    def __call__(self) -> Array:
        """The data.

        Raises:
            CoreMLError: the file was changed since the package was read, or cannot be read.
        """
        data = self.blob.file.read(self.blob.offset, self.blob.size)
        return from_bytes(data, self.blob.dtype, self.shape)


class _WeightFile:
    def __init__(self, file: StoredFile, stream: BinaryIO) -> None:
        self.file, self.stream = file, stream
        self.blobs: dict[int, Blob] = {}
        header = self._read(0)
        self.count, version = struct.unpack_from("<II", header)
        if version != 2:
            raise _damaged(file, f"its format version is {version}, and version 2 is known")
        if self.count > (file.size - _UNIT) // _UNIT:
            raise _damaged(file, f"{self.count} blobs do not fit into its {file.size} bytes")

    def blob(self, at: int) -> Blob:
        """The blob whose metadata is at this offset."""
        if at not in self.blobs:
            self.blobs[at] = self._metadata(at)
        return self.blobs[at]

    def _read(self, at: int) -> bytes:
        if at > self.file.size - _UNIT:
            raise _damaged(
                self.file, f"64 bytes are needed at offset {at}, and it has {self.file.size}"
            )
        return self.file.read(at, _UNIT, self.stream).tobytes()

    def _metadata(self, at: int) -> Blob:
        if at % _UNIT or at == 0:
            raise _damaged(self.file, f"offset {at} is no place for a blob (multiples of 64)")
        sentinel, code, size, offset, padding = struct.unpack_from("<IIQQQ", self._read(at))
        if sentinel != _SENTINEL:
            raise _damaged(self.file, f"there is no blob at offset {at} (sentinel {sentinel:#x})")
        if code not in BLOB_TYPES:
            name = _REFUSED.get(code, str(code))
            raise _damaged(self.file, f"the blob at {at} has the element type {name}, not known")
        if offset % _UNIT or offset < at + _UNIT:
            raise _damaged(
                self.file, f"the blob at {at} has its data at {offset}, not aligned or not after it"
            )
        if offset > self.file.size or size > self.file.size - offset:
            raise _damaged(
                self.file,
                f"the blob at {at} has {size} bytes at {offset}, past the file's {self.file.size}",
            )
        return Blob(self.file, BLOB_TYPES[code], offset, size, padding)

    def check_overlaps(self) -> None:
        """Metadata is never part of another blob's data, and two blobs' data are equal or apart."""
        if len(self.blobs) > self.count:
            raise _damaged(
                self.file, f"it says it has {self.count} blobs, and {len(self.blobs)} are used"
            )
        spans = {(blob.offset, blob.offset + blob.size) for blob in self.blobs.values()}
        spans |= {(at, at + _UNIT) for at in self.blobs}
        last = _UNIT
        for start, end in sorted(spans):
            if end > start and start < last:
                raise _damaged(self.file, f"blobs overlap at offset {start}")
            last = max(last, end)


class WeightFiles:
    """The weight files that one model refers to; a context manager that closes them."""

    def __init__(self, package: Path, model_folder: str) -> None:
        self._package, self._folder = package, model_folder
        self._files: dict[str, _WeightFile] = {}
        self._streams = contextlib.ExitStack()

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._streams.close()

    def find(self, name: str, offset: int, declared: TensorType, where: str) -> BlobLoader:
        """Check everything about a blob but its data.

        Args:
            name: the file as the program names it, ``@model_path/…``.
            offset: where its metadata is.
            declared: the value's type.
            where: the value, for error messages.

        Raises:
            CoreMLError: the path leaves the package, the file or the metadata is damaged, or the
                blob is not what the value declares.
        """
        blob = self._open(name).blob(offset)
        shape = tuple(axis for axis in declared.shape if axis is not None)
        if len(shape) != len(declared.shape):
            raise CoreMLError(f"{where} is stored in a file but its shape is not fixed")
        if blob.dtype != declared.dtype:
            raise CoreMLError(
                f"{where} is declared {declared.dtype}, its blob at {offset} is {blob.dtype}",
                todo="export the model again",
            )
        bits = math.prod(shape) * BITS[blob.dtype]
        size = -(-bits // 8)
        if size != blob.size:
            raise CoreMLError(
                f"{where} of shape {list(shape)} needs {size} bytes, "
                f"its blob at {offset} has {blob.size}",
                todo="export the model again",
            )
        # The field was reserved, and could hold anything, before there were types below a byte.
        if BITS[blob.dtype] < 8 and blob.padding_bits != size * 8 - bits:
            raise CoreMLError(
                f"{where} leaves {size * 8 - bits} bits unused, "
                f"its blob at {offset} says {blob.padding_bits}",
                todo="export the model again",
            )
        return BlobLoader(blob, shape)

    def check_overlaps(self) -> None:
        """Check the blobs used so far against each other.

        Raises:
            CoreMLError: they overlap, or are more than the file says it has.
        """
        for file in self._files.values():
            file.check_overlaps()

    def _open(self, name: str) -> _WeightFile:
        if name not in self._files:
            if not name.startswith(_MODEL_PATH):
                raise CoreMLError(
                    f"the weight file {shown(name)} is outside the package",
                    why=f"a weight file's name must start with {_MODEL_PATH}",
                    todo="do not use this package",
                )
            if len(self._files) == _MOST_FILES:
                raise CoreMLError(f"the program uses more than {_MOST_FILES} weight files")
            relative = check_path(name.removeprefix(_MODEL_PATH), named_by="a weight")
            file = find_file(self._package, f"{self._folder}/{relative}", named_by="a weight")
            stream = self._streams.enter_context(file.open())
            self._files[name] = _WeightFile(file, stream)
        return self._files[name]


def _damaged(file: StoredFile, why: str) -> CoreMLError:
    return CoreMLError(
        f"the weight file {shown(file.relative)} is damaged",
        why=why,
        todo="copy the package again or export it again",
    )
