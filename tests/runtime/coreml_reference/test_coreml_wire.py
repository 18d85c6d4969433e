"""The protobuf reader against Google's own, and what it refuses on top."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2
from hypothesis import given
from hypothesis import strategies as st

from runtime.coreml_reference.packing import varint_count, varints
from runtime.coreml_reference.program import Array, CoreMLError
from runtime.coreml_reference.wire import parse, shown, varint

INT64 = st.integers(-(2**63), 2**63 - 1)


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_varint(number: int, rest: bytes) -> None:
    data = _varint(number)
    assert varint(data + rest, 0, len(data + rest)) == (number, len(data))
    with pytest.raises(CoreMLError, match="runs over"):
        varint(data, 0, len(data) - 1)


@pytest.mark.parametrize("data", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\xff" * 20])
def test_varint_beyond_64_bits(data: bytes) -> None:
    with pytest.raises(CoreMLError, match="longer than 64 bits"):
        varint(data, 0, len(data))
    with pytest.raises(CoreMLError, match="longer than 64 bits"):
        varints(_bytes(data + b"\x00"), varint_count(_bytes(data + b"\x00")), "int64", "x")


@given(st.lists(INT64 | st.integers(-300, 300), max_size=60))
def test_packed_numbers(numbers: list[int]) -> None:
    message = MIL_pb2.TensorValue.RepeatedLongInts(values=numbers)
    raw = _bytes(bytes(parse(message.SerializeToString(), "RepeatedLongInts").raw("values")))
    assert varint_count(raw) == len(numbers)
    decoded = varints(raw, len(numbers), "int64", "x")
    assert decoded.tolist() == numbers
    assert not decoded.flags.writeable


def test_packed_numbers_across_pieces() -> None:
    """More bytes than are decoded at a time, with numbers of every length on the borders."""
    numbers = (
        np.random.default_rng(3).integers(-(2**63), 2**63 - 1, 120_000) >> np.arange(120_000) % 64
    )
    raw = _bytes(MIL_pb2.TensorValue.RepeatedLongInts(values=numbers.tolist()).SerializeToString())
    raw = _bytes(bytes(parse(raw.tobytes(), "RepeatedLongInts").raw("values")))
    assert len(raw) > 1 << 19
    np.testing.assert_array_equal(varints(raw, len(numbers), "int64", "x"), numbers)


@pytest.mark.parametrize(
    ("dtype", "number"),
    [("int32", 2**31), ("int32", -(2**31) - 1), ("uint16", -1), ("uint16", 65536), ("bool", 2)],
)
def test_packed_number_out_of_range(dtype: str, number: int) -> None:
    with pytest.raises(CoreMLError, match=f"no {dtype}"):
        varints(_bytes(_varint(0) + _varint(number)), 2, dtype, "x")


def test_packed_numbers_cut_short() -> None:
    with pytest.raises(CoreMLError, match="cut short"):
        varints(_bytes(b"\x01\x80"), 1, "int64", "x")


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=20),
    st.lists(st.integers(1, 2**40), max_size=4),
    st.integers(0, 2**64 - 1),
    INT64,
)
def test_scalars_are_read_as_protobuf_reads_them(
    version: int, name: str, shape: list[int], low: int, high: int
) -> None:
    spec = Model_pb2.Model(specificationVersion=version)
    feature = spec.description.input.add(name=name)
    feature.type.multiArrayType.shape.extend(shape)
    feature.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    model = parse(spec.SerializeToString(), "Model")
    assert model.number("specificationVersion") == version
    (read,) = model.need("description").children("input")
    assert read.text("name") == name
    array = read.need("type").need("multiArrayType")
    raw = _bytes(bytes(array.raw("shape")))
    assert varints(raw, varint_count(raw), "int64", "x").tolist() == shape
    assert array.which("ShapeFlexibility") == "shapeRange"
    (range_,) = array.need("shapeRange").children("sizeRanges")
    assert (range_.number("lowerBound"), range_.number("upperBound")) == (low, high)


def test_numbers_may_come_in_several_runs() -> None:
    """Packed, one by one, and both: protobuf reads the concatenation, so do we."""
    data = b"\x0a\x02\x01\x02" + b"\x08\x96\x01" + b"\x0a\x01\x03"
    theirs = FeatureTypes_pb2.ArrayFeatureType.FromString(data)
    ours = _bytes(bytes(parse(data, "ArrayFeatureType").raw("shape")))
    assert varints(ours, 4, "int64", "x").tolist() == list(theirs.shape) == [1, 2, 150, 3]
    floats = b"\x0a\x04\x00\x00\x80\x3f" + b"\x0d\x00\x00\x00\x40"
    raw = bytes(parse(floats, "RepeatedFloats").raw("values"))
    theirs_floats = list(MIL_pb2.TensorValue.RepeatedFloats.FromString(floats).values)
    assert np.frombuffer(raw, "<f4").tolist() == theirs_floats == [1.0, 2.0]


@pytest.mark.parametrize(
    ("schema", "data", "says"),
    [
        ("Model", b"\x08\x01\x08\x02", "specificationVersion at byte 3 is given twice"),
        ("Model", b"\x52\x01\x01", "wire type 2 instead of 0"),
        ("Model", b"\x50\x02", "is 2 and must be 0 or 1"),
        ("Model", b"\x08" + _varint(2**31), "is 2147483648, which is no int32"),
        ("Model", b"\x0b\x0c", "unknown wire type 3"),
        ("Model", b"\x0e\x00", "unknown wire type 6"),
        ("Model", b"\x00\x01", "field number 0"),
        ("Model", _varint((1 << 29) << 3) + b"\x01", "field number 536870912"),
        ("Model", b"\x12", "runs over its message"),
        ("Model", b"\x12\x05\x00", "runs over its message by 4 B"),
        ("Model", b"\x12" + _varint(2**64 - 1), "runs over its message"),
        ("Model", b"\x0d\x00\x00\x00", "runs over its message by 1 B"),
        ("Value", b"\x1a\x00\x2a\x00", "besides immediateValue"),
        ("Value", b"\x0a\x01\xff", "not UTF-8"),
        ("Value", b"\x0a\x03\xed\xa0\x80", "not UTF-8"),
        ("Value", b"\x3a\x00", "unknown field 7 in Value"),
    ],
)
def test_refused(schema: str, data: bytes, says: str) -> None:
    with pytest.raises(CoreMLError, match=says):
        parse(data, schema)


def test_repeated_strings_and_keys() -> None:
    block = parse(b"\x12\x01a\x12\x01\xff", "Block")
    assert block.count("outputs") == 2
    with pytest.raises(CoreMLError, match="not UTF-8"):
        list(block.texts("outputs"))
    with pytest.raises(CoreMLError, match="key 'a' twice"):
        list(parse(b"\x22\x03\x0a\x01a" * 2, "Block").entries("attributes"))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """What we accept, Google's reader accepts too."""
    try:
        parse(data, "Model").check()
    except CoreMLError as error:
        assert "\n" not in str(error)
        return
    Model_pb2.Model.FromString(data)


def test_shown_is_one_short_printable_line() -> None:
    assert shown("a\nb\x1b[1m\u202e") == r"'a\nb\x1b[1m\u202e'"
    assert len(shown("x" * 10_000)) == 82
