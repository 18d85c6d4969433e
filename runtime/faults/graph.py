"""An artifact's graph as every format has it: operations, constants, and ways to damage them.

A fault is written once, against this view; each format's module provides the view. What is found is
found by structure (what feeds the softmax, what follows the attention), never by a name that our
own converters happen to give.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from runtime.manifest import ArtifactSpec

Array = npt.NDArray[Any]

# Kinds that every format's operations are translated to; others keep their own name in lower case.
LINEAR, LOOKUP, PRODUCT, SOFTMAX, ATTENTION, GELU = (
    "linear",
    "lookup",
    "product",
    "softmax",
    "attention",
    "gelu",
)
Activation = Literal["tanh", "relu"]
Ending = Literal["softmax", "sigmoid", "batch_mean", "noise"]


class NotApplicable(Exception):  # noqa: N818 - no error: a fact about an artifact
    """A fault that an artifact cannot hold; the text says why, for the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    Attributes:
        order: place in the order of execution.
        kind: one of the kinds above, or the format's own name in lower case.
        inputs: parameter → name of the value; absent ones are left out.
        outputs: names of values.
        raw: the format's own object.
        matrix: parameter of the stored matrix of a linear or lookup node, else empty.
    """

    order: int
    kind: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    raw: Any
    matrix: str = ""


@dataclass(frozen=True, slots=True)
class Weight:
    """A matrix as it is stored; what is written into the arrays is saved.

    Attributes:
        name: for reports.
        values: [rows, width], floats or integer codes; a row is an output channel or a token.
        scales: of the codes, [rows], [1] or [rows, blocks]; None for floats.
        zeros: the code of zero, an array that broadcasts to `values`, or 0.
        bits: of a code, where a file packs them: 4 of an int8 array.
        multiples: whole numbers that make a row's scale a block's, [rows, blocks], or None.
    """

    name: str
    values: Array
    scales: Array | None = None
    zeros: Array | int = 0
    bits: int = 8
    multiples: Array | None = None

    def take(self, rows: npt.NDArray[np.intp]) -> None:
        """Put row `rows[i]` in place of row i, scales included."""
        self.values[...] = self.values[rows]
        for array in (self.scales, self.zeros, self.multiples):
            if isinstance(array, np.ndarray) and array.shape[:1] == (len(rows),):
                array[...] = array[rows]

    def clear(self, rows: slice = slice(None)) -> None:
        """Make rows zero."""
        zeros = np.broadcast_to(self.zeros, self.values.shape)
        self.values[rows] = zeros[rows]

    def negate(self) -> None:
        """Change every sign; a code that has no opposite becomes the nearest that exists."""
        if self.scales is None:
            np.negative(self.values, out=self.values)
            return
        turned = 2 * np.asarray(self.zeros, np.int64) - self.values
        self.values[...] = np.clip(turned, *self._limits())

    def multiply(self, factor: float) -> None:
        """Scale every value: the scales of codes, or the floats themselves."""
        array = self.values if self.scales is None else self.scales
        array *= array.dtype.type(factor)

    def poison(self, value: float) -> None:
        """Put a value that is not finite in the first place that can hold one."""
        array = self.values if self.scales is None else self.scales
        array.flat[0] = value

    def shift_codes(self) -> None:
        """Add one to every code, as a wrong zero point would."""
        if self.scales is None:
            raise NotApplicable("its weights have no zero point that can be changed alone")
        self.values[...] = np.minimum(self.values.astype(np.int64) + 1, self._limits()[1])

    def shift_block_scale(self) -> None:
        """Give the first block that is not all zeros the scale beside its own."""
        steps = self.scales if self.multiples is None else self.multiples
        if steps is None or steps.ndim < 2 or steps.shape[1] < 2:
            raise NotApplicable("its weights have no blocks with scales of their own")
        row, column = (int(place[0]) for place in np.nonzero(self.values))
        where = row, column * steps.shape[1] // self.values.shape[1]
        if self.multiples is None:
            steps[where] *= steps.dtype.type(1.25)
        else:
            steps[where] = steps[where] + 1 if steps[where] == 1 else steps[where] - 1

    def exchange(self, other: Weight) -> None:
        """Swap contents with a weight of the same shape."""
        if self._stored() != other._stored():
            raise NotApplicable(f"{self.name} and {other.name} are not stored alike")
        for mine, theirs in (
            (self.values, other.values),
            (self.scales, other.scales),
            (self.zeros, other.zeros),
            (self.multiples, other.multiples),
        ):
            if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
                kept = mine.copy()
                mine[...] = theirs
                theirs[...] = kept

    def dense(self) -> npt.NDArray[np.float64]:
        """The effective values, [rows, width]."""
        values = self.values.astype(np.float64)
        if self.scales is None:
            return values
        scales = self.scales.reshape(-1, 1) if self.scales.ndim < 2 else self.scales
        if self.multiples is not None:
            scales = scales * self.multiples
        each = np.repeat(scales, values.shape[1] // scales.shape[1], axis=1)
        scaled: npt.NDArray[np.float64] = (values - self.zeros) * each
        return scaled

    def _limits(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        limits = np.iinfo(self.values.dtype)
        return limits.min >> (8 - self.bits), limits.max >> (8 - self.bits)

    def _stored(self) -> tuple[object, ...]:
        """What two weights must have in common to hold each other's contents."""
        shapes = [np.shape(part) for part in (self.values, self.scales) if part is not None]
        return (shapes, self.values.dtype, self.bits)


def logits_name(spec: ArtifactSpec) -> str:
    """The output with the logits: a classifier has a label and a dictionary besides."""
    return next(output.name for output in spec.outputs if output.dtype.startswith("float"))


class Graph(ABC):
    """What each format offers: reading, and the edits that a format makes in its own way.

    Attributes:
        nodes: operations in the order of execution, constants left out.
        ids, mask, logits: names of the inputs and of the output.
        vectors: whether that output is a sentence vector.
    """

    vectors = False
    nodes: tuple[Node, ...]
    ids: str
    mask: str
    logits: str

    @abstractmethod
    def constant(self, name: str) -> Array | None:
        """A small constant's values, for reading; None where the name is computed or compressed."""

    @abstractmethod
    def stored_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a value that is stored, in whatever form; None where it is computed."""

    @abstractmethod
    def own(self, node: Node, parameter: str) -> Array:
        """A constant input as an array that is saved, after which no other node shares it."""

    @abstractmethod
    def weight(self, node: Node, parameter: str = "") -> Weight:
        """A stored matrix that a node reads, without a parameter `node.matrix`.

        Afterwards no other node shares it.
        """

    @abstractmethod
    def bias(self, node: Node) -> tuple[Node, str] | None:
        """Where a linear node's bias enters: node and parameter."""

    @abstractmethod
    def rewire(self, node: Node, parameter: str, name: str) -> None:
        """Let an input read another value."""

    @abstractmethod
    def set_activation(self, node: Node, activation: Activation) -> None:
        """Replace a GELU."""

    @abstractmethod
    def set_epsilon(self, value: float) -> None:
        """Change what one LayerNorm adds to the variance, in the middle of the model."""

    @abstractmethod
    def end_with(self, ending: Ending) -> None:
        """Put one more operation between the logits and the output of that name."""

    def reverse_classes(self) -> None:
        """Turn round the list of class names that the artifact itself holds."""
        raise NotApplicable("it gives logits and holds no list of classes")

    def producer(self, name: str) -> Node | None:
        """The node that computes a value."""
        return next((node for node in self.nodes if name in node.outputs), None)

    def consumers(self, name: str) -> Iterator[Node]:
        """The nodes that read a value."""
        return (node for node in self.nodes if name in node.inputs.values())

    def behind(self, name: str, stop: tuple[str, ...] = ()) -> list[Node]:
        """Nodes that a value depends on, in order; a kind in `stop` is not looked behind."""
        makers = {output: node for node in self.nodes for output in node.outputs}
        found: dict[Node, None] = {}
        waiting = [name]
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node not in found:
                found[node] = None
                if node.kind not in stop:
                    waiting += node.inputs.values()
        return sorted(found, key=lambda node: node.order)

    def after(self, names: tuple[str, ...]) -> list[Node]:
        """Nodes that depend on any of the values, in order."""
        known, found = set(names), []
        for node in self.nodes:
            if known.intersection(node.inputs.values()):
                known.update(node.outputs)
                found.append(node)
        return found
