"""Four-bit weights of an ONNX file, found by how the graph unpacks them.

matrix    bytes ─ Cast ─ Add(multiples) ─ Gather(pairs) ─ Transpose ─ Reshape
rows      bytes ─ Gather or Slice ─ Cast ─ Gather(pairs) ─ Mul(scales) ─ Reshape
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LOOKUPS = ("Gather", "Slice")


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """One packed weight.

    Attributes:
        name: of its bytes.
        shape: of its codes, [in, out] or [rows, columns].
        pairs: name of the table that unpacks it.
        multiples: name of a matrix's; empty for rows, whose scales are looked up as they are.
    """

    name: str
    shape: tuple[int, ...]
    pairs: str
    multiples: str = ""

    @property
    def is_linear(self) -> bool:
        """Whether it is a matrix that is multiplied, and not a table."""
        return bool(self.multiples)


def packed_tensors(graph: Any, uint8: int) -> dict[str, PackedTensor]:
    """What an operation reads that multiplies by a packed matrix, or looks up → the weight.

    Args:
        graph: onnx's ``GraphProto``.
        uint8: onnx's number for the type of bytes.
    """
    links = _Links(graph)
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found: dict[str, PackedTensor] = {}
    for tensor in graph.initializer:
        if tensor.data_type != uint8 or len(tensor.dims) < 3:
            continue
        name, shape = tensor.name, tuple(tensor.dims)
        matrix = links.follow(name, "Cast", "Add", "Gather", "Transpose", "Reshape")
        if matrix:
            _, offset, unpack, _, last = matrix
            multiples = links.origin(next(n for n in offset.input if n != matrix[0].output[0]))
            if stored.get(unpack.input[0], ())[1:] == (2,) and multiples in stored:
                whole = (shape[0] * shape[1] * 2, shape[2])
                found[last.output[0]] = PackedTensor(name, whole, unpack.input[0], multiples)
        for lookup in links.readers(name, *_LOOKUPS):
            rows = links.follow(lookup.output[0], "Cast", "Gather", "Mul", "Reshape")
            if rows and stored.get(rows[1].input[0], ())[1:] == (2,):
                whole = (*shape[:-2], shape[-2] * shape[-1] * 2)
                found[name] = PackedTensor(name, whole, rows[1].input[0])
    return found


class _Links:
    """Who reads and who makes a value."""

    def __init__(self, graph: Any) -> None:
        self._readers: dict[str, list[Any]] = {}
        self._makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def readers(self, name: str, *kinds: str) -> Iterator[Any]:
        return (node for node in self._readers.get(name, ()) if node.op_type in kinds)

    def follow(self, name: str, *kinds: str) -> list[Any]:
        """The first readers of these kinds, one after the other; nothing if one is missing."""
        path = []
        for kind in kinds:
            node = next(self.readers(name, kind), None)
            if node is None:
                return []
            path.append(node)
            name = node.output[0]
        return path

    def origin(self, name: str) -> str:
        """The first input of the first input … of what makes a value."""
        while name in self._makers:
            name = self._makers[name].input[0]
        return name
