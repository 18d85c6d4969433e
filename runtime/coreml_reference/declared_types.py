"""Reads declared types out of a program and checks that they are sensible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.coreml_reference.program import CoreMLError, OtherType, TensorType, Type
from runtime.coreml_reference.wire import Message, damaged

# MIL.proto's enum DataType.
ELEMENT_TYPES: Mapping[int, str] = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
_REFUSED_TYPES = {0: "none", 13: "bf16", 40: "fp8 (E4M3FN)", 41: "fp8 (E5M2)"}
# Core ML's own limit for tensors is 5 axes; a table of constexpr_lut_to_dense has 2 more.
_MOST_AXES = 7
_MOST_ELEMENTS = (1 << 31) - 1
# Types seen so far, by their bytes: a program repeats a few types thousands of times.
_LARGEST_REMEMBERED = 128


@dataclass(frozen=True, slots=True)
class ListOf:
    """Elements of one type; None where the length is free."""

    element: FullType
    length: int | None


@dataclass(frozen=True, slots=True)
class TupleOf:
    """One type an element."""

    elements: tuple[FullType, ...]


@dataclass(frozen=True, slots=True)
class DictionaryOf:
    """One type for all keys and one for all values."""

    key: FullType
    value: FullType


FullType = TensorType | ListOf | TupleOf | DictionaryOf

_KINDS = {ListOf: "list", TupleOf: "tuple", DictionaryOf: "dictionary"}


def public_type(full: FullType) -> Type:
    """The type as the executor sees it."""
    return full if isinstance(full, TensorType) else OtherType(_KINDS[type(full)])


def elements_of(shape: tuple[int | None, ...]) -> int | None:
    """How many elements a tensor of this shape has, None where an axis is free."""
    fixed = [axis for axis in shape if axis is not None]
    return math.prod(fixed) if len(fixed) == len(shape) else None


class TypeReader:
    """Reads types; remembers those it has read."""

    def __init__(self) -> None:
        self._seen: dict[bytes, FullType] = {}

    def read(self, message: Message, where: str) -> FullType:
        """Read a ValueType.

        Args:
            message: a ValueType.
            where: what has the type, for error messages.

        Raises:
            CoreMLError: state, an element type that is not known, more than 7 axes, an axis or a
                product of axes beyond 2^31 - 1, or a free number of axes.
        """
        # The bytes of a large type must not be held once more at every level of its nesting.
        if message.size > _LARGEST_REMEMBERED:
            return self._read(message, where)
        content = message.content()
        known = self._seen.get(content)
        if known is None:
            known = self._seen[content] = self._read(message, where)
        return known

    def _read(self, message: Message, where: str) -> FullType:
        kind = message.which("type")
        if kind == "tensorType":
            return _tensor(message.need(kind), where)
        if kind == "listType":
            inner = message.need(kind)
            length = _axis(inner.need("length"), where)
            return ListOf(self.read(inner.need("type"), where), length)
        if kind == "tupleType":
            inner = message.need(kind)
            return TupleOf(tuple(self.read(part, where) for part in inner.children("types")))
        if kind == "dictionaryType":
            inner = message.need(kind)
            key = self.read(inner.need("keyType"), where)
            return DictionaryOf(key, self.read(inner.need("valueType"), where))
        if kind == "stateType":
            raise CoreMLError(
                f"{where} is a state",
                why="programs that keep a state between calls are not known to this reader",
                todo="export the model without states",
            )
        raise damaged(f"{where} has no type")


def _tensor(message: Message, where: str) -> TensorType:
    code = message.number("dataType")
    dtype = ELEMENT_TYPES.get(code)
    if dtype is None:
        raise CoreMLError(
            f"{where} has the element type {_REFUSED_TYPES.get(code, str(code))}",
            why="that type is not known to this reader",
        )
    if message.count("attributes"):
        raise CoreMLError(f"{where} has a tensor type with attributes, which are not known")
    axes, rank = message.count("dimensions"), message.number("rank")
    if axes > _MOST_AXES or rank != axes:
        raise CoreMLError(
            f"{where} has a malformed type",
            why=f"it lists {axes} axes and says it has {rank}; at most {_MOST_AXES} are allowed",
        )
    shape = tuple(_axis(axis, where) for axis in message.children("dimensions"))
    # A free axis counts as 1 here, the executor checks what it becomes. An axis of 0 must not hide
    # the size of the others.
    if math.prod(max(axis or 1, 1) for axis in shape) > _MOST_ELEMENTS:
        raise CoreMLError(
            f"{where} is too large", why=f"shape {list(shape)} has more than 2^31 - 1 elements"
        )
    return TensorType(dtype, shape)


def _axis(message: Message, where: str) -> int | None:
    kind = message.which("dimension")
    if kind == "constant":
        size = message.need(kind).number("size")
        if size > _MOST_ELEMENTS:
            raise CoreMLError(f"{where} is too large", why=f"an axis has {size} elements")
        return size
    if kind == "unknown":
        if message.need(kind).number("variadic"):
            raise CoreMLError(f"{where} has a free number of axes", why="that is not known here")
        return None
    raise damaged(f"{where} has an axis without a size")
