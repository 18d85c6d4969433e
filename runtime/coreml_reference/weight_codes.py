"""The operations behind a compressed weight, and its codes, scales and tables in one shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.coreml_reference.program import Array, CoreMLError, Operation, TensorType, Value

# Kind → where its codes are.
AFFINE = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "constexpr_sparse_blockwise_shift_scale": "nonzero_data",
}
PALETTE = {
    "constexpr_lut_to_dense": "indices",
    "constexpr_lut_to_sparse": "indices_nonzero_data",
}
SPARSE = "constexpr_sparse_to_dense"
_MASKS = {
    "constexpr_sparse_blockwise_shift_scale": "data_mask",
    "constexpr_lut_to_sparse": "indices_mask",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One operation on the way from stored data to a weight.

    Attributes:
        values: parameter → constant, whether it stood in the operation or in a const.
        sources: parameter → name of the constexpr value that it takes.
    """

    operation: Operation
    values: Mapping[str, Value]
    sources: Mapping[str, str]

    def shape(self, parameter: str) -> tuple[int, ...]:
        """Of a constant parameter.

        Raises:
            CoreMLError: it is no constant, or no tensor of a fixed shape.
        """
        value = self.values.get(parameter)
        kind = value.type if value is not None else None
        if not isinstance(kind, TensorType) or any(size is None for size in kind.shape):
            raise CoreMLError(f"{self.operation.name} has no constant {parameter}")
        return tuple(size for size in kind.shape if size is not None)

    def load(self, parameter: str) -> Array:
        """Data of a constant parameter.

        Raises:
            CoreMLError: as `shape`.
        """
        self.shape(parameter)
        return np.asarray(self.values[parameter].load())


@dataclass(frozen=True, slots=True)
class Codes:
    """How a compressed weight is stored; every array has the weight's rank, `tables` one more.

    Attributes:
        values: int8 or uint8 of the weight's shape; 0 where `kept` is False.
        scale: [blocks along each axis …]; None for a palettized weight.
        offset: like `scale`, to be subtracted from `values`; None where there is none.
        tables: [blocks along each axis …, entries]; None for an affine weight.
        kept: bool of the weight's shape, False for zeros that are not stored; None where all are.
    """

    values: Array
    scale: Array | None
    offset: Array | None
    tables: Array | None
    kept: Array | None


def link_of(operation: Operation, makers: Mapping[str, Link]) -> Link:
    """A const or constexpr operation with its constants found.

    Args:
        operation: of the kind const or constexpr_….
        makers: name → link of every earlier constant.

    Raises:
        CoreMLError: it is computed from something that is no constant.
    """
    values = dict(operation.attributes)
    sources = {}
    for parameter, arguments in operation.inputs.items():
        if len(arguments) != 1:
            raise CoreMLError(f"{operation.name} has {len(arguments)} values for {parameter}")
        argument = arguments[0]
        if isinstance(argument, Value):
            values[parameter] = argument
        elif argument not in makers:
            raise CoreMLError(
                f"{operation.name} ({operation.kind}) makes a constant from {argument}",
                why="which is no constant",
            )
        elif makers[argument].operation.kind == "const":
            values[parameter] = makers[argument].values["val"]
        else:
            sources[parameter] = argument
    return Link(operation, values, sources)


def chain_of(link: Link, makers: Mapping[str, Link]) -> Iterator[Link]:
    """A link and all it is made from, each operation once, the outermost first."""
    seen: set[str] = set()
    waiting = [link]
    while waiting:
        current = waiting.pop(0)
        if current.operation.name not in seen:
            seen.add(current.operation.name)
            yield current
            waiting += [makers[name] for name in current.sources.values()]


def kept_elements(chain: tuple[Link, ...], elements: int) -> int:
    """How many elements of a weight are stored; all of them where it is not sparse."""
    if not any(link.operation.kind == SPARSE for link in chain):
        return elements
    for link in chain:
        for parameter in ("nonzero_data", "indices_nonzero_data"):
            if parameter in link.values:
                return math.prod(link.shape(parameter))
    raise CoreMLError(f"{chain[0].operation.name} is sparse but stores nothing")


def read_codes(name: str, shape: tuple[int, ...], chain: tuple[Link, ...]) -> Codes:
    """Codes of a weight that is quantized or palettized, whether sparse or not.

    Raises:
        CoreMLError: it is not compressed, or by operations that are not known together.
    """
    inner = chain[1:] if chain[0].operation.kind == SPARSE else chain
    if len(inner) != 1 or inner[0].operation.kind not in AFFINE.keys() | PALETTE.keys():
        kinds = ", ".join(link.operation.kind for link in chain)
        raise CoreMLError(f"{name} has no codes that can be checked", why=f"it is made by {kinds}")
    link = inner[0]
    kind = link.operation.kind
    stored = link.load(AFFINE.get(kind) or PALETTE[kind])
    kept = None
    if kind in _MASKS:
        kept = link.load(_MASKS[kind]).astype(np.bool_).reshape(shape)
        values = np.zeros(shape, dtype=stored.dtype)
        values[kept] = stored
        stored = values
    if kind in AFFINE:
        scale, offset = _scale_and_offset(link, len(shape))
        return Codes(stored.reshape(shape), scale, offset, None, kept)
    tables = link.load("lut")
    if "shape" in link.values:  # iOS 16: bytes with indices packed one after the other
        bits = bits_of_index(link)
        count = math.prod(shape)
        ones = np.unpackbits(stored.reshape(-1), count=count * bits, bitorder="little")
        weights = np.left_shift(np.uint8(1), np.arange(bits, dtype=np.uint8))
        stored = (ones.reshape(-1, bits) * weights).sum(axis=1, dtype=np.uint8)
        tables = tables.reshape(*(1 for _ in shape), -1, 1)
    if tables.shape[-1] != 1:
        raise CoreMLError(f"{name} has no codes that can be checked", why="its tables hold vectors")
    return Codes(stored.reshape(shape), None, None, tables[..., 0], kept)


def bits_of_index(link: Link) -> int:
    """Bits of an index into a palette's table.

    Raises:
        CoreMLError: the number of entries is no power of two.
    """
    shape = link.shape("lut")
    entries = shape[0] if len(shape) == 1 else shape[-2]
    bits = entries.bit_length() - 1
    if entries != 1 << bits or not 1 <= bits <= 8:
        raise CoreMLError(f"{link.operation.name} has a table of {entries} entries")
    return bits


def _scale_and_offset(link: Link, rank: int) -> tuple[Array, Array | None]:
    scale = link.load("scale")
    name = "zero_point" if "zero_point" in link.values else "offset"
    offset = link.load(name) if name in link.values else None
    if link.operation.kind == "constexpr_affine_dequantize":
        axis = int(link.load("axis"))
        where = [-1 if position == axis % rank else 1 for position in range(rank)]
        scale = scale.reshape(where)
        if offset is not None:
            offset = offset.reshape(where)
    return scale, offset
