"""A saved ML program as plain, frozen data: what the reader makes and the executor runs.

Names follow Apple's MIL.proto. Element types are MIL's textual names: ``fp16``, ``fp32``, ``fp64``,
``bool``, ``string``, ``int4`` … ``int64``, ``uint1``, ``uint2``, ``uint3``, ``uint4``, ``uint6``,
``uint8`` … ``uint64``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError

Array = npt.NDArray[Any]


class CoreMLError(UserError):
    """A package that is damaged, hostile, or uses something this executor does not know."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; None is a free axis. A scalar has the shape ()."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class OtherType:
    """What is no tensor: ``list``, ``tuple``, ``dictionary`` or ``state``."""

    kind: str


Type = TensorType | OtherType


@dataclass(frozen=True, slots=True)
class Value:
    """A constant, in the program or in a weight file.

    Attributes:
        type: as declared; checked against the data when the package is read.
        load: returns the data. A tensor is a read-only numpy array of the declared shape, with a
            sub-byte type unpacked to one uint8 or int8 per element; a scalar string is a str, a
            tensor of strings a tuple of str; a list is a tuple; a dictionary a dict.
        blob: (weight file relative to the package, offset of its metadata), None for an immediate.
        stored_bits: bits the data takes in the file, padding not counted.
    """

    type: Type
    load: Callable[[], Any]
    blob: tuple[str, int] | None
    stored_bits: int


@dataclass(frozen=True, slots=True)
class NamedType:
    """A value's name and type."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        kind: MIL's name, such as ``linear``.
        name: from the attribute ``name``; the first output's name where it has none.
        inputs: parameter → its arguments, each the name of an earlier value or a constant. Only
            variadic parameters (``values`` of concat) have more than one.
        outputs: in order.
        attributes: parameter → constant (``val`` of a const; ``axis``, ``scale`` … of old constexpr
            operations), ``name`` left out.
    """

    kind: str
    name: str
    inputs: Mapping[str, tuple[str | Value, ...]]
    outputs: tuple[NamedType, ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Function:
    """The function that is run: inputs, operations in the order they are run, names of outputs.

    Reading has proven that every argument names an input or an output of an earlier operation, that
    no name is given twice and that every operation's kind is known.
    """

    name: str
    opset: str
    inputs: tuple[NamedType, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or output as the model's description declares it to an app.

    Attributes:
        kind: ``multiArray``, ``dictionary``, ``string``, ``int64`` …
        dtype: of a multi-array: ``int32``, ``fp16``, ``fp32``, ``fp64``; else empty.
        shape: the default shape; empty where it is not declared.
        shapes: allowed shapes where they are enumerated, else empty.
        ranges: (lowest, highest) per axis where there is a range, highest None for no limit.
        description: for people.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What Xcode shows."""

    short_description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    user_defined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was read and found sound.

    Attributes:
        path: the .mlpackage folder.
        specification_version: 7 is iOS 16, 8 iOS 17, 9 iOS 18.
        function: the default function, ``main``.
        inputs, outputs: the description's features.
        predicted_feature_name, predicted_probabilities_name: of a classifier, else empty.
        metadata: author, licence …
    """

    path: Path
    specification_version: int
    function: Function
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    predicted_feature_name: str
    predicted_probabilities_name: str
    metadata: Metadata


# numpy's type of each element type; sub-byte types are unpacked to a byte each.
NUMPY_TYPES: Mapping[str, type[Any]] = {
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
    "bool": np.bool_,
    "int4": np.int8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
