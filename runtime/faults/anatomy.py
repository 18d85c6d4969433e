"""Finds the parts of a text classifier in a graph: tables, encoder blocks, classifier, mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.faults.graph import (
    ATTENTION,
    LINEAR,
    LOOKUP,
    PRODUCT,
    SOFTMAX,
    Graph,
    Node,
    NotApplicable,
    Weight,
)

_MASKING = -100.0
# Rows of a table of token types, at most; a table of positions has more.
_SEGMENTS = 2
_SCALING = ("mul", "div", "real_div")


@dataclass(frozen=True, slots=True)
class Block:
    """The linear layers of one encoder block."""

    attention: Node
    query: Node
    key: Node
    value: Node
    out: Node
    inner: Node
    outer: Node

    @property
    def linears(self) -> tuple[Node, ...]:
        """All six, in the order in which they are named above."""
        return (self.query, self.key, self.value, self.out, self.inner, self.outer)


def linears(graph: Graph) -> list[Node]:
    """Every product with a stored matrix, in order."""
    return [node for node in graph.nodes if node.kind == LINEAR]


def classifier(graph: Graph) -> Node:
    """The linear layer that gives the logits.

    Raises:
        NotApplicable: there is none.
    """
    if graph.vectors:
        raise NotApplicable("it gives a sentence vector and has no classifier")
    return _last(graph.behind(graph.logits, (LINEAR,)), LINEAR, "a layer that gives the logits")


def blocks(graph: Graph) -> tuple[Block, ...]:
    """Encoder blocks in order.

    Heads that have a softmax of their own belong to one block: they read the same query layer.

    Where keys and values are multiplied with one row per head, attention reads the same hidden
    states twice: the key's matrix has been applied to the queries, the value's comes after.

    Raises:
        NotApplicable: the graph's attention is not understood.
    """
    found: dict[Node, Block] = {}
    for node in graph.nodes:
        if node.kind == ATTENTION:
            query, key, value = (node.inputs[name] for name in ("query", "key", "value"))
            context = node
        elif node.kind == SOFTMAX:
            if not any(later.kind == PRODUCT for later in graph.after(node.outputs)):
                continue  # the classifier's own
            (start,) = list(node.inputs.values())[:1]
            # The first: XLNet adds products with distances and segments, which come after it.
            scores = _first(graph.behind(start, (PRODUCT,)), PRODUCT, "attention scores")
            context = _first(graph.after(node.outputs), PRODUCT, "a product with the values")
            query, key = list(scores.inputs.values())[:2]
            weights = {name for n in graph.after(node.outputs) for name in n.outputs}
            weights.update(node.outputs)
            value = next(v for v in context.inputs.values() if v not in weights)
        else:
            continue
        asking = _linear_behind(graph, query)
        if node.kind == SOFTMAX and _layers_behind(graph, key) == _layers_behind(graph, value):
            block = _one_row_per_head(graph, node, asking, context)
            found[block.query] = block
        elif asking not in found:
            layers = asking, _linear_behind(graph, key), _linear_behind(graph, value)
            found[asking] = _block(graph, node, layers, context)
    if not found:
        raise NotApplicable("no attention was found")
    return tuple(found.values())


def _one_row_per_head(graph: Graph, attention: Node, key: Node, context: Node) -> Block:
    read = [name for parameter, name in key.inputs.items() if parameter != key.matrix]
    behind = [node for name in read for node in graph.behind(name, (LINEAR,))]
    query = _last(sorted(behind, key=lambda node: node.order), LINEAR, "a layer of queries")
    value = _first(graph.after(context.outputs), LINEAR, "a layer of values")
    return _block(graph, attention, (query, key, value), value)


def _block(graph: Graph, attention: Node, layers: tuple[Node, Node, Node], before: Node) -> Block:
    """A block with query, key and value, whose output projection is the layer after `before`."""
    query, key, value = layers
    out = _first(graph.after(before.outputs), LINEAR, "a layer behind the attention")
    later = [node for node in graph.after(out.outputs) if node.kind == LINEAR]
    # Feed-forward twice, then at least the classifier where there is one.
    if len(later) < (2 if graph.vectors else 3):
        raise NotApplicable("no feed-forward layers follow the attention")
    return Block(
        attention,
        query,
        key,
        value,
        out,
        later[0],
        later[1],
    )


def two_blocks(graph: Graph) -> tuple[Block, Block]:
    """The first and the last block.

    Raises:
        NotApplicable: there is only one, or one that runs again and again.
    """
    found = blocks(graph)
    if len(found) < 2:
        raise NotApplicable("it has one encoder block")
    first, last = (block.inner for block in (found[0], found[-1]))
    if first.inputs[first.matrix] == last.inputs[last.matrix]:
        raise NotApplicable("its encoder blocks share their weights")
    return found[0], found[-1]


def word_table(graph: Graph) -> Weight:
    """The table that the ids are looked up in.

    Raises:
        NotApplicable: there is none.
    """
    return graph.weight(_word_lookup(graph))


def position_table(graph: Graph) -> Weight:
    """The table of positions: looked up, sliced, or added as a whole.

    Raises:
        NotApplicable: there is none.
    """
    words = _word_lookup(graph)
    width = (graph.stored_shape(words.inputs[words.matrix]) or (0,))[-1]
    lookups = {
        shape: node
        for node in graph.nodes
        if node.kind == LOOKUP and node is not words
        if (shape := graph.stored_shape(node.inputs[node.matrix])) is not None
        if len(shape) > 1 and shape[-2] > _SEGMENTS and shape[-1] > 1
    }
    # As wide as the words' where there is one: MobileBERT's words are narrower than all else.
    for shape in sorted(lookups, key=lambda shape: (shape[-1] != width, -shape[-2])):
        return graph.weight(lookups[shape])
    for node in graph.after(words.outputs):
        for parameter, name in node.inputs.items():
            shape = graph.stored_shape(name) or ()
            if node.kind == "add" and shape[-1:] == (width,) and math.prod(shape) > width:
                return graph.weight(node, parameter)
        if node.kind == LINEAR:
            break
    raise NotApplicable("no table of positions was found")


def _word_lookup(graph: Graph) -> Node:
    """The first look-up of rows that are as wide as the model."""
    known = {graph.ids}
    for node in graph.nodes:
        if node.kind == "shape" or not known.intersection(node.inputs.values()):
            continue  # a shape tells how many ids there are, not which
        known.update(node.outputs)
        if node.kind == LOOKUP and (graph.stored_shape(node.inputs[node.matrix]) or (1,))[-1] > 1:
            return node
    raise NotApplicable("no table is looked up by the ids")


def masking(graph: Graph) -> tuple[Node, str]:
    """Where the score of masked positions enters: node and parameter of the constant.

    Raises:
        NotApplicable: no constant far below zero is computed with the mask.
    """
    for node in graph.after((graph.mask,)):
        for parameter, name in node.inputs.items():
            values = graph.constant(name)
            if values is None or values.size != 1 or values.dtype.kind != "f":
                continue
            if float(values.reshape(-1)[0]) < _MASKING:
                return node, parameter
    raise NotApplicable("no score of masked positions was found")


def score_scale(graph: Graph, block: Block) -> tuple[Node, str] | None:
    """Where a block's scores are scaled; None where the scale is inside the query's weights.

    A constant of one number; between queries and keys also one that is zero but for that number,
    which leaves each head its own channels.
    """
    if block.attention.kind == ATTENTION:
        return None
    between = set(graph.after(block.query.outputs))
    for name in (v for parameter, v in block.key.inputs.items() if parameter != block.key.matrix):
        for node in graph.behind(name, (LINEAR,)):
            for parameter, factor in node.inputs.items() if node in between else ():
                values = graph.constant(factor) if node.kind in _SCALING else None
                if values is not None and len(np.unique(values[values != 0])) == 1:
                    return node, parameter
    (start,) = list(block.attention.inputs.values())[:1]
    product = _last(graph.behind(start, (PRODUCT,)), PRODUCT, "attention scores")
    for node in graph.behind(start, (PRODUCT,)):
        if node.kind in _SCALING and product in graph.behind(node.outputs[0]):
            for parameter, name in node.inputs.items():
                values = graph.constant(name)
                if values is not None and values.size == 1:
                    return node, parameter
    return None


def _layers_behind(graph: Graph, name: str) -> set[Node]:
    """The nearest linear layer on each way back from a value."""
    return {node for node in graph.behind(name, (LINEAR,)) if node.kind == LINEAR}


def _linear_behind(graph: Graph, name: str) -> Node:
    return _last(graph.behind(name, (LINEAR,)), LINEAR, "a layer before the attention")


def _last(nodes: list[Node], kind: str, what: str) -> Node:
    return _first(nodes[::-1], kind, what)


def _first(nodes: list[Node], kind: str, what: str) -> Node:
    for node in nodes:
        if node.kind == kind:
            return node
    raise NotApplicable(f"{what} was not found")
