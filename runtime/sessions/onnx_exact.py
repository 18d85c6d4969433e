"""An ONNX artifact in exact arithmetic: its activations in float32, its weights as they are stored.

    x ─ DynamicQuantizeLinear ─ MatMulInteger ─ Cast ─ Mul(scale of x · scales of W)

becomes, in a copy in memory,

    x ─ Identity ─ MatMul(W cast to float32) ─ Cast ─ Mul(1 · scales of W)

and nothing else is touched: operators, attributes, constants and the order of everything stay as
they are in the file, so that a wrong graph stays wrong. Whatever quantizes activations in another
way is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from runtime.errors import UserError
from runtime.sessions.onnx_graph import (
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_KIND,
    NODE_NAME,
    NODE_OUTPUT,
    OnnxGraph,
    OnnxNode,
    read_graph,
)
from runtime.sessions.onnx_wire import field, key, number_field, whole_fields

_GRAPH_VALUE_INFO = 13
_FLOAT = 1
_QUANTIZE, _PRODUCT = "DynamicQuantizeLinear", "MatMulInteger"
# Makes stored integers float; every other operator that names integers rounds activations.
_HARMLESS = "DequantizeLinear"
_STANDARD = ("", "ai.onnx")

Piece = bytes | memoryview


def exact_model(data: bytes, where: str) -> bytes | None:
    """The bytes of a file that computes the same without quantizing activations.

    Args:
        data: of the artifact.
        where: its name, for messages.

    Returns:
        None if the artifact quantizes none: it is exact as it is.

    Raises:
        UserError: the file cannot be read, or quantizes activations in a way that is not known.
    """
    graph = read_graph(data, where)
    if not any(_quantizes(node) for node in graph.nodes):
        return None
    try:
        _check(graph)
    except ValueError as error:
        raise UserError(
            f"{where} cannot be run in exact arithmetic",
            why=str(error),
            todo="export it with this release's onnx target",
        ) from error
    replacements = {node.span[0]: new for node, new in _replacements(graph)}
    return b"".join(_model(data, replacements))


def _quantizes(node: OnnxNode) -> bool:
    kind = node.kind.lower()
    by_name = any(word in kind for word in ("quantize", "integer", "qlinear"))
    return node.domain not in _STANDARD or (by_name and node.kind != _HARMLESS)


def _check(graph: OnnxGraph) -> None:
    """Refuse every use of integers but the one above, each product with its own input's scale."""
    readers, fixed = _Readers(graph), set(graph.fixed())
    known = []
    for node in graph.nodes:
        if _is(node, _QUANTIZE):
            known += [node, *_products_of(node, fixed, readers)]
    for node in filter(_quantizes, graph.nodes):
        if node not in known:
            raise ValueError(f"{node.name or node.outputs} is a {node.domain} {node.kind}")


class _Readers:
    """Which nodes read a value."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._readers: dict[str, list[OnnxNode]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def all(self, names: Iterable[str], kind: str) -> list[OnnxNode]:
        """All that read any of the values, which must be of one kind."""
        found = [node for name in names for node in self._readers.get(name, ())]
        for node in found:
            if not _is(node, kind):
                raise ValueError(f"{node.kind} {node.name} reads integers or their scale")
        return found


def _products_of(quantizer: OnnxNode, fixed: set[str], readers: _Readers) -> list[OnnxNode]:
    """The products of one quantized activation, after checking all that is done with it."""
    codes, scale, zero = quantizer.outputs
    products = readers.all((codes,), _PRODUCT)
    for product in products:
        if product.inputs[1] not in fixed or product.inputs != (
            codes,
            product.inputs[1],
            zero,
        ):
            raise ValueError(f"{product.name} is no product of an activation and a stored weight")
    casts = readers.all((product.outputs[0] for product in products), "Cast")
    results = readers.all((cast.outputs[0] for cast in casts), "Mul")
    scaling = readers.all((scale,), "Mul")
    scaled = readers.all((node.outputs[0] for node in scaling), "Mul")
    scales = {node.outputs[0] for node in scaling}
    same = (
        all(node in products for node in readers.all((zero,), _PRODUCT))
        and all(cast.numbers.get("to") == _FLOAT for cast in casts)
        and all(node in results for node in scaled)
        and all(len(scales.intersection(node.inputs)) == 1 for node in results)
    )
    if not same:
        raise ValueError(f"the products of {quantizer.name} are not scaled by its scale alone")
    return products


def _is(node: OnnxNode, kind: str) -> bool:
    return node.kind == kind and node.domain in _STANDARD


def _replacements(graph: OnnxGraph) -> Iterator[tuple[OnnxNode, list[bytes]]]:
    """Node → fields of a graph that stand in for it."""
    cast: set[str] = set()
    for node in graph.nodes:
        if node.kind == _QUANTIZE:
            codes, scale, _ = node.outputs
            yield node, [_one(scale), _node("Identity", node.name, node.inputs[:1], codes)]
        elif node.kind == _PRODUCT:
            new, weight = [], node.inputs[1]
            dense = f"{weight}/as float32"
            if weight not in cast:
                cast.add(weight)
                new.append(_node("Cast", dense, (weight,), dense, to=_FLOAT))
            inputs = (node.inputs[0], dense)
            yield node, [*new, _node("MatMul", node.name, inputs, node.outputs[0])]


def _model(data: bytes, replacements: dict[int, list[bytes]]) -> list[Piece]:
    """The file in pieces, nodes replaced by where they start; weights are not copied."""
    view = memoryview(data)
    model: list[Piece] = []
    for number, first, last, whole in whole_fields(data, 0, len(data)):
        if number != MODEL_GRAPH:
            model.append(view[whole])
            continue
        graph: list[Piece] = []
        for part, start, _, inner in whole_fields(data, first, last):
            if part == GRAPH_NODE and start in replacements:
                graph += replacements[start]
            elif part != _GRAPH_VALUE_INFO:  # notes of types, some of which are no longer so
                graph.append(view[inner])
        model += [key(MODEL_GRAPH, sum(map(len, graph))), *graph]
    return model


def _node(kind: str, name: str, inputs: Iterable[str], output: str, **numbers: int) -> bytes:
    texts = [*((NODE_INPUT, each) for each in inputs), (NODE_OUTPUT, output)]
    texts += [(NODE_NAME, name), (NODE_KIND, kind)]
    parts = [field(number, text.encode()) for number, text in texts]
    for attribute, value in numbers.items():  # its name, its number, and that it is one
        content = field(1, attribute.encode()) + number_field(3, value) + number_field(20, 2)
        parts.append(field(NODE_ATTRIBUTE, content))
    return field(GRAPH_NODE, b"".join(parts))


def _one(name: str) -> bytes:
    """An initializer: element type, name, bytes; without dimensions it is a scalar."""
    content = number_field(2, _FLOAT) + field(8, name.encode())
    return field(GRAPH_INITIALIZER, content + field(9, np.float32(1).tobytes()))
