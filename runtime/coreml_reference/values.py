"""Reads constants: immediate ones are decoded and checked, those in weight files are located."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.coreml_reference.blob import WeightFiles
from runtime.coreml_reference.declared_types import (
    DictionaryOf,
    FullType,
    ListOf,
    TupleOf,
    TypeReader,
    elements_of,
    public_type,
)
from runtime.coreml_reference.packing import BITS, from_bytes, varint_count, varints
from runtime.coreml_reference.program import Array, CoreMLError, TensorType, Value
from runtime.coreml_reference.wire import Message, damaged, shown

# Which field of TensorValue holds which element types, as coremltools writes them.
_FIELD_OF: Mapping[str, str] = {
    "fp32": "floats",
    "fp64": "doubles",
    "bool": "bools",
    "string": "strings",
    "int16": "ints",
    "uint16": "ints",
    "int32": "ints",
    "int64": "longInts",
    "uint64": "longInts",
}
_AS_NUMBERS = ("ints", "longInts", "bools")


@dataclass(frozen=True, slots=True)
class Immediate:
    """Returns a constant that is held in memory."""

    data: Any

    def __call__(self) -> Any:
        """The data; a dictionary is copied, all else cannot be changed."""
        return dict(self.data) if isinstance(self.data, dict) else self.data


@dataclass(frozen=True, slots=True)
class ReadValue:
    """A constant and its full type."""

    value: Value
    full_type: FullType


class ValueReader:
    """Reads the constants of one program."""

    def __init__(self, weights: WeightFiles) -> None:
        self.types = TypeReader()
        self._weights = weights

    def read(self, message: Message, where: str) -> ReadValue:
        """Read a Value message.

        Args:
            message: a Value.
            where: what has the value, for error messages.

        Raises:
            CoreMLError: the value is not what its type declares, or its blob is unsound.
        """
        full = self.types.read(message.need("type"), where)
        kind = message.which("value")
        if kind == "blobFileValue":
            return ReadValue(self._stored(message.need(kind), full, where), full)
        data, bits = self._immediate(message, full, where)
        return ReadValue(Value(public_type(full), Immediate(data), None, bits), full)

    def text(self, message: Message, where: str) -> str:
        """Read a Value that must be one string.

        Raises:
            CoreMLError: it is anything else.
        """
        data = self.read(message, where).value.load()
        if not isinstance(data, str):
            raise CoreMLError(f"{where} is not a string")
        return data

    def _stored(self, message: Message, full: FullType, where: str) -> Value:
        if not isinstance(full, TensorType) or full.dtype not in BITS:
            raise CoreMLError(f"{where} is stored in a weight file, which holds only numbers")
        offset = message.number("offset")
        loader = self._weights.find(message.text("fileName"), offset, full, where)
        bits = math.prod(loader.shape) * BITS[full.dtype]
        return Value(full, loader, (loader.blob.file.relative, offset), bits)

    def _immediate(self, message: Message, full: FullType, where: str) -> tuple[Any, int]:
        """The data and the bits it takes."""
        if message.which("value") != "immediateValue":
            raise damaged(f"{where} has no value")
        inner = message.need("immediateValue")
        kind = inner.which("value")
        expected = "tensor" if isinstance(full, TensorType) else public_type(full).kind  # type: ignore[union-attr]
        if kind != expected:
            raise damaged(f"{where} is declared a {expected} and holds a {kind or 'nothing'}")
        content = inner.need(kind)
        if isinstance(full, TensorType):
            return _tensor(content, full, where)
        if isinstance(full, DictionaryOf):
            return self._dictionary(content, full, where)
        count = content.count("values")
        length = full.length if isinstance(full, ListOf) else len(full.elements)
        if length is not None and count != length:
            raise damaged(f"{where} is declared with {length} elements and holds {count}")
        data, total = [], 0
        for index, element in enumerate(content.children("values")):
            declared = full.elements[index] if isinstance(full, TupleOf) else full.element
            item, bits = self._element(element, declared, f"{where}, element {index},")
            data.append(item)
            total += bits
        return tuple(data), total

    def _element(self, message: Message, declared: FullType, where: str) -> tuple[Any, int]:
        """An element of a list, tuple or dictionary, whose own type must be the declared one."""
        own = self.types.read(message.need("type"), where)
        if own != declared:
            raise damaged(f"{where} has another type than its list, tuple or dictionary declares")
        return self._immediate(message, own, where)

    def _dictionary(self, content: Message, full: DictionaryOf, where: str) -> tuple[Any, int]:
        data: dict[Any, Any] = {}
        total = 0
        for pair in content.children("values"):
            key, key_bits = self._element(pair.need("key"), full.key, f"{where}, a key,")
            if isinstance(key, np.ndarray) and key.ndim == 0:
                key = key.item()
            if not isinstance(key, str | int):
                raise damaged(f"{where} has a key that is neither a string nor a whole number")
            if key in data:
                raise damaged(f"{where} has the key {shown(str(key))} twice")
            data[key], bits = self._element(pair.need("value"), full.value, f"{where}, a value,")
            total += key_bits + bits
        return data, total


def _tensor(content: Message, declared: TensorType, where: str) -> tuple[Any, int]:
    """An immediate tensor. Counts are compared before anything of their size is made."""
    count = elements_of(declared.shape)
    if count is None:
        raise damaged(f"{where} is a constant whose shape is not fixed")
    field, given = _FIELD_OF.get(declared.dtype, "bytes"), content.which("value")
    if given != field:
        raise damaged(f"{where} is {declared.dtype}, kept as {given or 'nothing'}, not as {field}")
    numbers = content.need(field)
    if field == "strings":
        _check_count(numbers.count("values"), count, "strings", where)
        texts = tuple(numbers.texts("values"))
        bits = sum(len(text.encode()) for text in texts) * 8
        return (texts[0] if declared.shape == () else texts), bits
    raw: Array = np.frombuffer(bytes(numbers.raw("values")), np.uint8)
    shape = tuple(axis for axis in declared.shape if axis is not None)
    bits = count * BITS[declared.dtype]
    if field in _AS_NUMBERS:
        _check_count(varint_count(raw), count, "numbers", where)
        return _frozen(varints(raw, count, declared.dtype, where).reshape(shape)), bits
    _check_count(len(raw), -(-bits // 8), "bytes", where)
    return from_bytes(raw, declared.dtype, shape), bits


def _check_count(given: int, needed: int, what: str, where: str) -> None:
    if given != needed:
        raise damaged(f"{where} needs {needed} {what} and holds {given}")


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array
