"""Weight files: Apple's writer and reader, and files whose metadata lies."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.libmilstoragepython import _BlobStorageReader as BlobReader
from coremltools.libmilstoragepython import _BlobStorageWriter as BlobWriter
from coremltools.optimize._utils import pack_elements_into_bits
from hypothesis import given
from hypothesis import strategies as st

from runtime.coreml_reference.blob import BLOB_TYPES, BlobLoader, WeightFiles
from runtime.coreml_reference.packing import unpack
from runtime.coreml_reference.program import NUMPY_TYPES, Array, CoreMLError, TensorType

NAME = "@model_path/weight.bin"
SUB_BYTE = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}
METHODS = {"fp32": "float"}


def _data(dtype: str, count: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    if dtype in SUB_BYTE:
        low, bits = (-8 if dtype == "int4" else 0), SUB_BYTE[dtype]
        return random.integers(low, low + 2**bits, count).astype(NUMPY_TYPES[dtype])
    raw: Array = random.integers(0, 256, count * np.dtype(NUMPY_TYPES[dtype]).itemsize, np.uint8)
    return raw.view(NUMPY_TYPES[dtype])


def _write(folder: Path, blobs: list[tuple[str, Array]]) -> list[int]:
    """A weight file by Apple's own writer; returns the blobs' offsets."""
    writer = BlobWriter(str(folder / "weight.bin"))
    offsets = []
    for dtype, data in blobs:
        raw = data.view(np.uint16) if dtype == "fp16" else data
        offsets.append(getattr(writer, f"write_{METHODS.get(dtype, dtype)}_data")(raw))
    del writer
    return offsets


def _find(folder: Path, offset: int, dtype: str, *shape: int) -> BlobLoader:
    """Look a blob up as the reader of packages does; the model is in the folder `data`."""
    with WeightFiles(folder.parent, folder.name) as files:
        loader = files.find(NAME, offset, TensorType(dtype, shape), "the weight 'w'")
        files.check_overlaps()
    return loader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.mark.parametrize("dtype", sorted(BLOB_TYPES.values()))
@pytest.mark.parametrize("count", [1, 7, 8, 64, 1001])
def test_every_type_is_read_as_apple_reads_it(folder: Path, dtype: str, count: int) -> None:
    data = _data(dtype, count, seed=count)
    offsets = _write(folder, [("fp16", _data("fp16", 5, 1)), (dtype, data)])
    ours = _find(folder, offsets[1], dtype, count)()
    assert ours.dtype == data.dtype
    assert ours.tobytes() == data.tobytes()
    assert not ours.flags.writeable
    reader: Any = BlobReader(str(folder / "weight.bin"))
    theirs = getattr(reader, f"read_{METHODS.get(dtype, dtype)}_data")(offsets[1])
    assert np.asarray(theirs).shape == ours.shape
    assert np.asarray(theirs).tobytes() == ours.tobytes()


@given(st.integers(1, 7), st.integers(0, 70), st.booleans(), st.integers(0, 99))
def test_unpacking(bits: int, count: int, signed: bool, seed: int) -> None:
    """Against numpy's unpackbits, and coremltools' packing where it has the width."""
    random = np.random.default_rng(seed)
    raw: Array = random.integers(0, 256, -(-count * bits // 8), np.uint8)
    values = np.unpackbits(raw, bitorder="little")[: count * bits].reshape(count, bits)
    expected = (values.astype(np.int64) << np.arange(bits)).sum(1)
    if signed:
        expected -= (expected >> (bits - 1)) << bits
    result = unpack(raw, bits, (count,), signed=signed)
    assert result.dtype == (np.int8 if signed else np.uint8)
    assert result.tolist() == expected.tolist()
    if count and not signed:
        packed = pack_elements_into_bits(result, bits)
        assert unpack(packed, bits, (count,), signed=False).tolist() == result.tolist()


def _patched(folder: Path, at: int, layout: str, value: int) -> None:
    data = bytearray((folder / "weight.bin").read_bytes())
    struct.pack_into(layout, data, at, value)
    (folder / "weight.bin").write_bytes(data)


# Place in the metadata or (negative) the header, layout, value, what the message says.
LIES = [
    (-64, "<I", 9_000, "9000 blobs do not fit"),
    (-64, "<I", 0, "says it has 0 blobs, and 1 are used"),
    (-60, "<I", 1, "format version is 1"),
    (0, "<I", 0xDEADBEEE, "no blob at offset 64"),
    (4, "<I", 5, "element type bf16"),
    (4, "<I", 99, "element type 99"),
    (4, "<I", 3, "is declared uint3, its blob at 64 is uint8"),
    (8, "<Q", 5, "past the file's 132"),
    (8, "<Q", 3, "needs 4 bytes, its blob at 64 has 3"),
    (8, "<Q", 2**63, "past the file's"),
    (8, "<Q", 2**64 - 1, "past the file's"),
    (16, "<Q", 0, "not aligned or not after it"),
    (16, "<Q", 64, "not aligned or not after it"),
    (16, "<Q", 129, "not aligned or not after it"),
    (16, "<Q", 2**63, "past the file's"),
    (16, "<Q", 2**64 - 64, "past the file's"),
    (16, "<Q", 192, "past the file's"),
    (24, "<Q", 0, "leaves 2 bits unused, its blob at 64 says 0"),
    (24, "<Q", 10, "leaves 2 bits unused, its blob at 64 says 10"),
    (24, "<Q", 2**64 - 1, "leaves 2 bits unused"),
]


@pytest.mark.parametrize(("at", "layout", "value", "says"), LIES, ids=[each[3] for each in LIES])
def test_metadata_that_lies(folder: Path, at: int, layout: str, value: int, says: str) -> None:
    (offset,) = _write(folder, [("uint3", _data("uint3", 10, 0))])
    assert _find(folder, offset, "uint3", 10)().shape == (10,)
    _patched(folder, offset + at, layout, value)
    with pytest.raises(CoreMLError, match=says):
        _find(folder, offset, "uint3", 10)


def test_blob_that_is_larger_than_its_value(folder: Path) -> None:
    offsets = _write(folder, [("fp32", _data("fp32", 10, 0)), ("fp32", _data("fp32", 10, 1))])
    for count in (9, 11, 2**20):
        with pytest.raises(CoreMLError, match=f"needs {count * 4} bytes, its blob at 64 has 40"):
            _find(folder, offsets[0], "fp32", count)


@pytest.mark.parametrize("offset", [0, 1, 63, 65, 128, 2**32, 2**63, 2**64 - 64])
def test_offset_that_is_no_blob(folder: Path, offset: int) -> None:
    _write(folder, [("fp32", _data("fp32", 100, 0))])
    with pytest.raises(CoreMLError, match=r"no place for a blob|no blob at|are needed at offset"):
        _find(folder, offset, "fp32", 100)


def test_blobs_that_overlap(folder: Path) -> None:
    offsets = _write(folder, [("uint8", _data("uint8", 200, 0)), ("uint8", _data("uint8", 200, 1))])
    _patched(folder, offsets[0] + 16, "<Q", 256)
    with WeightFiles(folder.parent, folder.name) as files:
        for offset in offsets:
            files.find(NAME, offset, TensorType("uint8", (200,)), "w")
        with pytest.raises(CoreMLError, match="blobs overlap"):
            files.check_overlaps()


def test_two_values_may_share_a_blob(folder: Path) -> None:
    data = _data("fp16", 30, 0)
    (offset,) = _write(folder, [("fp16", data)])
    with WeightFiles(folder.parent, folder.name) as files:
        loaders = [
            files.find(NAME, offset, TensorType("fp16", shape), "w") for shape in ((30,), (5, 6))
        ]
        files.check_overlaps()
    assert loaders[0]().tobytes() == loaders[1]().tobytes() == data.tobytes()


def test_cut_short_at_every_length(folder: Path) -> None:
    (offset,) = _write(folder, [("fp16", _data("fp16", 40, 0))])
    whole = (folder / "weight.bin").read_bytes()
    for length in range(offset + 64 + 80):
        (folder / "weight.bin").write_bytes(whole[:length])
        with pytest.raises(CoreMLError, match="is damaged"):
            _find(folder, offset, "fp16", 40)


def test_types_that_no_weight_file_holds(folder: Path) -> None:
    (offset,) = _write(folder, [("uint8", _data("uint8", 8, 0))])
    for dtype in ("int8", "bool", "fp64", "int64", "uint64"):
        with pytest.raises(CoreMLError, match=f"declared {dtype}, its blob"):
            _find(folder, offset, dtype, 8)


@pytest.mark.parametrize("change", ["shrunk", "grown", "rewritten", "removed", "fifo", "link"])
def test_a_file_that_changes_after_it_was_read(folder: Path, change: str) -> None:
    """An error, not SIGBUS, a hang or other numbers."""
    data = _data("fp32", 4096, 0)
    (offset,) = _write(folder, [("fp32", data)])
    loader = _find(folder, offset, "fp32", 4096)
    assert loader().tobytes() == data.tobytes()
    path = folder / "weight.bin"
    content = path.read_bytes()
    if change == "shrunk":
        os.truncate(path, 200)
    elif change == "grown":
        path.write_bytes(content + b"x")
    else:
        path.unlink()
        other = path.with_name("other.bin")
        other.write_bytes(content)
        if change == "rewritten":
            other.rename(path)
            os.utime(path, ns=(1, 1))
        elif change == "fifo":
            os.mkfifo(path)
        elif change == "link":
            path.symlink_to(other)
    with pytest.raises(CoreMLError, match=r"changed|cannot be read"):
        loader()


def test_only_metadata_is_read_before_loading(folder: Path) -> None:
    data = _data("uint8", 8 << 20, 0)
    (offset,) = _write(folder, [("uint8", data)])
    tracemalloc.start()
    try:
        loader = _find(folder, offset, "uint8", 8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.reset_peak()
        assert loader().tobytes()[:100] == data.tobytes()[:100]
        # The array itself, and once more for tobytes above.
        assert tracemalloc.get_traced_memory()[1] < 17 << 20
    finally:
        tracemalloc.stop()
