"""Deep, huge and oddly encoded model files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from coreml_packages import MODEL, copied, edited, save_variant, spec_of

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant("ios16-fp16", tmp_path_factory.mktemp("packages"))


def _nested(depth: int) -> bytes:
    """A Value that is a list of a list of a list …"""
    value = b""
    for _ in range(depth):
        inner = b"\x0a" + _varint(len(value)) + value
        inner = b"\x1a" + _varint(len(inner)) + inner
        value = b"\x1a" + _varint(len(inner)) + inner
    return value


def _varint(number: int) -> bytes:
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


@pytest.mark.parametrize("depth", [20, 400, 20_000])
def test_deep_nesting(plain: Path, tmp_path: Path, depth: int) -> None:
    copy = copied(plain, tmp_path)
    entry = b"\x0a\x09buildInfo\x12"
    value = _nested(depth)
    entry += _varint(len(value)) + value
    program = spec_of(plain).mlProgram
    del program.attributes["buildInfo"]
    content = program.SerializeToString() + b"\x22" + _varint(len(entry)) + entry
    spec = spec_of(plain)
    spec.ClearField("mlProgram")
    model = spec.SerializeToString() + b"\xb2\x1f" + _varint(len(content)) + content
    (copy / MODEL).write_bytes(model)
    with pytest.raises(CoreMLError, match="nested deeper"):
        read_package(copy)


def test_unknown_fields(plain: Path, tmp_path: Path) -> None:
    """Inside the program they are refused by number; in the description they are skipped."""
    copy = copied(plain, tmp_path)
    unknown = b"\xaa\x3e\x01x"  # field 997, one byte
    spec = spec_of(plain)
    description = spec.description.SerializeToString() + unknown
    program = spec.mlProgram.SerializeToString()
    spec.ClearField("description")
    spec.ClearField("mlProgram")
    model = spec.SerializeToString() + b"\x12" + _varint(len(description)) + description
    whole = model + b"\xb2\x1f" + _varint(len(program)) + program
    (copy / MODEL).write_bytes(whole)
    assert read_package(copy).inputs
    (copy / MODEL).write_bytes(whole + unknown)
    with pytest.raises(CoreMLError, match="unknown field 997 in Model"):
        read_package(copy)
    program += unknown
    (copy / MODEL).write_bytes(model + b"\xb2\x1f" + _varint(len(program)) + program)
    with pytest.raises(CoreMLError, match="unknown field 997 in Program"):
        read_package(copy)


def test_oneof_given_twice(plain: Path, tmp_path: Path) -> None:
    copy = copied(plain, tmp_path)
    for extra in (b"\xa2\x1f\x00", b"\xb2\x1f\x00"):
        (copy / MODEL).write_bytes((plain / MODEL).read_bytes() + extra)
        with pytest.raises(CoreMLError, match=r"twice|only one may be"):
            read_package(copy)


@pytest.mark.parametrize(
    "filling",
    [b"\x22\x00", b"\x12\x00", b"\x12\x04\x0a\x00\x12\x00", b"\x1a\x00"],
    ids=["attributes", "functions", "function-with-key", "doc-strings"],
)
def test_millions_of_tiny_fields(plain: Path, tmp_path: Path, filling: bytes) -> None:
    """What is held stays within a small multiple of the file."""
    copy = copied(plain, tmp_path)
    spec = spec_of(plain)
    spec.ClearField("mlProgram")
    content = b"\x08\x01" + filling * (300_000 // len(filling))
    model = spec.SerializeToString() + b"\xb2\x1f" + _varint(len(content)) + content
    (copy / MODEL).write_bytes(model)
    tracemalloc.start()
    try:
        with pytest.raises(CoreMLError):
            read_package(copy)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(model)


def test_large_types_in_many_envelopes(plain: Path, tmp_path: Path) -> None:
    """The bytes of a type are not held again at every level of its nesting."""

    def change(spec: Any) -> None:
        type_ = spec.mlProgram.functions["main"].inputs[0].type
        tensor = type_.tensorType.SerializeToString()
        for _ in range(15):
            type_ = type_.tupleType.types.add()
        for _ in range(20_000):
            type_.tupleType.types.add().tensorType.MergeFromString(tensor)

    copy = edited(plain, tmp_path, change)
    tracemalloc.start()
    try:
        with pytest.raises(CoreMLError, match="the input 'input_ids' is a tuple"):
            read_package(copy)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * (copy / MODEL).stat().st_size


def test_a_model_file_of_more_than_64_mib(plain: Path, tmp_path: Path) -> None:
    copy = copied(plain, tmp_path)
    with (copy / MODEL).open("r+b") as stream:
        stream.truncate((64 << 20) + 1)
    with pytest.raises(CoreMLError, match="too large"):
        read_package(copy)
