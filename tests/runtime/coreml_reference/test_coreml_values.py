"""Immediate values of every kind, made by coremltools where it can make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.backend.mil.helper import create_scalar_value, create_tensor_value
from coremltools.converters.mil.mil import types
from coremltools.proto import MIL_pb2

from runtime.coreml_reference.blob import WeightFiles
from runtime.coreml_reference.program import CoreMLError, OtherType, TensorType, Value
from runtime.coreml_reference.values import ReadValue, ValueReader
from runtime.coreml_reference.wire import parse


def _read(message: Any) -> ReadValue:
    reader = ValueReader(WeightFiles(Path("none"), "none"))
    return reader.read(parse(message.SerializeToString(), "Value"), "the value 'v'")


def _load(message: Any) -> Any:
    return _read(message).value.load()


NUMPY = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]
NUMPY += ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (2, 0), (1, 2, 1, 70)])
def test_tensors_that_coremltools_makes(dtype: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(5)
    kind = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype == "bool":
        data = random.integers(0, 2, count).astype(bool)
    else:
        data = random.integers(0, 256, count * kind.itemsize, np.uint8).view(kind)
        data = np.nan_to_num(data) if kind.kind == "f" else data
    data = data.reshape(shape)
    read = _read(create_tensor_value(data))
    value = read.value
    assert isinstance(value.type, TensorType)
    assert value.type.shape == shape
    loaded = value.load()
    assert (loaded.dtype, loaded.shape) == (data.dtype, shape)
    assert loaded.tobytes() == data.tobytes()
    assert not loaded.flags.writeable
    assert value.blob is None
    assert value.stored_bits == count * kind.itemsize * 8


@pytest.mark.parametrize("dtype", ["int4", "uint1", "uint2", "uint3", "uint4", "uint6"])
def test_types_below_a_byte(dtype: str) -> None:
    builtin = getattr(types, dtype)
    bits, low = builtin.get_bitwidth(), (-8 if dtype == "int4" else 0)
    data = (np.arange(37) % 2**bits + low).astype(types.nptype_from_builtin(builtin))
    value = _read(create_tensor_value(data)).value
    assert value.type == TensorType(dtype, (37,))
    assert value.load().tolist() == data.tolist()
    assert value.stored_bits == 37 * bits


def test_strings() -> None:
    assert _load(create_scalar_value("grün")) == "grün"
    assert _load(create_scalar_value("")) == ""
    several = _tensor("STRING", "strings", ["a", "", "ü"], 3)
    assert _load(several) == ("a", "", "ü")
    assert _read(several).value.stored_bits == 24


def _tensor(dtype: str, field: str, values: Any, *shape: int) -> Any:
    value = MIL_pb2.Value()
    tensor = value.type.tensorType
    tensor.dataType = MIL_pb2.DataType.Value(dtype)
    tensor.rank = len(shape)
    for size in shape:
        tensor.dimensions.add().constant.size = size
    inner = getattr(value.immediateValue.tensor, field)
    if isinstance(values, bytes):
        inner.values = values
    else:
        inner.SetInParent()
        inner.values.extend(values)
    return value


def _dictionary(*pairs: tuple[Any, Any]) -> Any:
    value = MIL_pb2.Value()
    value.type.dictionaryType.keyType.CopyFrom(pairs[0][0].type)
    value.type.dictionaryType.valueType.CopyFrom(pairs[0][1].type)
    for key, content in pairs:
        value.immediateValue.dictionary.values.add(key=key, value=content)
    return value


def _collection(kind: str, *elements: Any) -> Any:
    value = MIL_pb2.Value()
    if kind == "tuple":
        value.type.tupleType.types.extend([each.type for each in elements])
    else:
        value.type.listType.type.CopyFrom(elements[0].type)
        value.type.listType.length.constant.size = len(elements)
    getattr(value.immediateValue, kind).values.extend(elements)
    return value


def test_dictionaries_lists_and_tuples() -> None:
    one, two = create_scalar_value("one"), create_scalar_value("two")
    number = create_tensor_value(np.array([1.5, 2.5], np.float32))
    dictionary = _dictionary((one, number), (two, number))
    loaded = _load(dictionary)
    assert _read(dictionary).value.type == OtherType("dictionary")
    assert list(loaded) == ["one", "two"]
    assert loaded["two"].tolist() == [1.5, 2.5]
    loaded.clear()
    assert _load(_dictionary((create_tensor_value(np.array(7)), one))) == {7: "one"}
    assert _load(_collection("list", one, two)) == ("one", "two")
    mixed = _collection("tuple", one, number, _collection("list", one))
    assert _read(mixed).value.type == OtherType("tuple")
    text, array, inner = _load(mixed)
    assert (text, array.tolist(), inner) == ("one", [1.5, 2.5], ("one",))
    assert _read(mixed).value.stored_bits == 24 + 64 + 24


def test_a_dictionary_is_handed_out_as_a_copy() -> None:
    one = create_scalar_value("one")
    value: Value = _read(_dictionary((one, one))).value
    value.load().clear()
    assert value.load() == {"one": "one"}


def test_uint64_above_int64() -> None:
    """coremltools does not write the type; protobuf keeps its bits in an int64."""
    assert _load(_tensor("UINT64", "longInts", [-1, 5], 2)).tolist() == [2**64 - 1, 5]


def _of(value: Any, change: Callable[[Any], object]) -> Any:
    change(value)
    return value


ONE = create_scalar_value("one")
SEVEN = create_tensor_value(np.array(7, np.int32))
REFUSED = [
    ("needs 3 numbers and holds 2", _tensor("INT32", "ints", [1, 2], 3)),
    ("needs 1 numbers and holds 2", _tensor("INT32", "ints", [1, 2])),
    ("needs 2147483647 numbers", _tensor("INT32", "ints", [1], 2**31 - 1)),
    ("needs 8 bytes and holds 4", _tensor("FLOAT32", "floats", [1.0], 2)),
    ("needs 4 bytes and holds 3", _tensor("FLOAT16", "bytes", b"abc", 2)),
    ("needs 2 bytes and holds 3", _tensor("UINT3", "bytes", b"abc", 5)),
    ("needs 2 strings and holds 1", _tensor("STRING", "strings", ["a"], 2)),
    ("is int8, kept as ints, not as bytes", _tensor("INT8", "ints", [1])),
    ("is fp16, kept as floats, not as bytes", _tensor("FLOAT16", "floats", [1.0])),
    ("has a number that is no int16", _tensor("INT16", "ints", [40_000])),
    ("declared a list and holds a tensor", _of(_collection("list", ONE), lambda v: v.MergeFrom(
        MIL_pb2.Value(immediateValue=ONE.immediateValue)))),
    ("with 2 elements and holds 1", _of(_collection("list", ONE), lambda v: setattr(
        v.type.listType.length.constant, "size", 2))),
    ("element 1, has another type", _collection("list", ONE, SEVEN)),
    ("has the key 'one' twice", _dictionary((ONE, SEVEN), (ONE, SEVEN))),
    ("neither a string nor", _dictionary((create_tensor_value(np.ones(2, np.int32)), ONE))),
    ("has no value", MIL_pb2.Value(type=ONE.type)),
    ("lacks its type", MIL_pb2.Value(immediateValue=ONE.immediateValue)),
    ("holds a nothing", _of(_tensor("BOOL", "bools", [True]), lambda v: v.immediateValue.Clear())),
    ("kept as nothing", _of(_tensor("BOOL", "bools", [True]), lambda v:
        v.immediateValue.tensor.Clear())),
]  # fmt: skip


@pytest.mark.parametrize(("says", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused(says: str, message: Any) -> None:
    with pytest.raises(CoreMLError, match=says):
        _read(message)


def test_shapes_that_are_not_fixed() -> None:
    value = _tensor("INT32", "ints", [1], 1)
    value.type.tensorType.dimensions[0].unknown.variadic = False
    with pytest.raises(CoreMLError, match="shape is not fixed"):
        _read(value)
    value.type.tensorType.dimensions[0].unknown.variadic = True
    with pytest.raises(CoreMLError, match="free number of axes"):
        _read(value)
    value.type.tensorType.dimensions[0].Clear()
    with pytest.raises(CoreMLError, match="axis without a size"):
        _read(value)
