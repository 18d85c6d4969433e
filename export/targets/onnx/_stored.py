"""Finds a weight's codes and scales in an ONNX file, by the names that quantizing gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.sessions.onnx_packed import unpack, unpack_linear

Array = npt.NDArray[Any]
KINDS = ("linear", "embedding")
_SUFFIXES = {
    ("linear", "int8"): ("/int8", "/scales"),
    ("embedding", "int8"): ("/int8_rows", "/row_scales"),
    ("linear", "int4"): ("/int4", "/scales", "/multiples"),
    ("embedding", "int4"): ("/int4_rows", "/row_scales"),
}
_ROW_MULTIPLES = "/row_multiples"


@dataclass(frozen=True, slots=True)
class Stored:
    """One weight's integers.

    Attributes:
        kind: ``linear`` or ``embedding``.
        precision: ``int8`` or ``int4``.
        codes: [rows, columns]; a row is an output channel or an entry of a table.
        parts: scales as they are stored, and their multiples where there are any.
        names: of the constants.
    """

    kind: str
    precision: str
    codes: Array
    parts: tuple[Array, ...]
    names: frozenset[str]

    def scales(self) -> npt.NDArray[np.float32]:
        """Scales, multiplied by their multiples where there are any, [rows, blocks].

        Raises:
            ValueError: they have no such shape or type; the message says which.
        """
        scales, rows = self.parts[0], len(self.codes)
        if scales.dtype not in (np.float32, np.float16):
            raise ValueError(f"scales are {scales.dtype}")
        if not scales.size or scales.size % rows:
            raise ValueError(f"{scales.size} scales for {rows} channels or rows")
        found = scales.reshape(rows, -1).astype(np.float32)
        if len(self.parts) == 1:
            return found
        multiples = self.parts[1]
        if multiples.dtype != np.uint8 or multiples.size % rows or found.shape[1] != 1:
            raise ValueError(f"{multiples.size} multiples for {scales.size} scales")
        # Of a linear layer [blocks, 1, out], of a table [rows, blocks, 1, 1].
        linear = self.kind == "linear"
        whole = multiples.reshape(-1, rows).T if linear else multiples.reshape(rows, -1)
        product: npt.NDArray[np.float32] = whole.astype(np.float32) * found
        return product


def integers_of(stored: Mapping[str, Array], name: str) -> list[Stored]:
    """Every form in which a parameter is stored as integers: usually one, or none.

    Args:
        stored: constants of the file.
        name: of the parameter.

    Raises:
        ValueError: codes have no such shape or type; the message says which.
    """
    found = []
    for (kind, precision), suffixes in _SUFFIXES.items():
        names = [name + suffix for suffix in suffixes]
        if not all(each in stored for each in names):
            continue
        if kind == "embedding" and name + _ROW_MULTIPLES in stored:
            names.append(name + _ROW_MULTIPLES)
        codes, *parts = (stored[each] for each in names)
        codes = _codes(codes, kind, precision)
        found.append(Stored(kind, precision, codes, tuple(parts), frozenset(names)))
    return found


def _codes(array: Array, kind: str, precision: str) -> Array:
    wanted = np.int8 if precision == "int8" else np.uint8
    if array.dtype != wanted or (precision == "int4" and array.ndim < 3):
        raise ValueError(f"codes are {array.dtype} {list(array.shape)}")
    if precision == "int8":
        return array.T if kind == "linear" else array
    return unpack_linear(array) if kind == "linear" else unpack(array)
