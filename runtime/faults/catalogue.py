"""The faults: what each does, as a table, and how it is planted in a graph.

Sizes are chosen as they happen: a wrong scale is a few per cent, a wrong epsilon the one of another
library's default for small floats, a weak mask a number that looks large enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.faults.anatomy import (
    Block,
    blocks,
    classifier,
    masking,
    position_table,
    score_scale,
    two_blocks,
    word_table,
)
from runtime.faults.graph import GELU, Activation, Array, Ending, Graph, Node, NotApplicable
from runtime.golden import NATURAL, VALIDATION, Golden
from runtime.manifest import TaskSpec


@dataclass(frozen=True, slots=True)
class Context:
    """What some faults need to know.

    Attributes:
        golden: cases of the bundle; a dropped row must be one that texts use, or none does.
        task: activation and labels.
    """

    golden: Golden
    task: TaskSpec


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: for the command line.
        summary: what it does, for the table.
        plant: changes a graph, or raises `NotApplicable`.
        refusable: a runtime may refuse the result, which is as good as a failed gate. Refusing any
            other one would tell of a badly planted fault, and nothing of the gate.
    """

    name: str
    summary: str
    plant: Callable[[Graph, Context], None]
    refusable: bool = False


def _bias(graph: Graph, node: Node) -> Array:
    where = graph.bias(node)
    if where is None:
        raise NotApplicable("the layer has no bias")
    return graph.own(*where)


def _first_block(graph: Graph) -> Block:
    return blocks(graph)[0]


def nan_weight(graph: Graph, _: Context) -> None:
    """One weight, or the scale of one channel, is not a number."""
    graph.weight(_first_block(graph).inner).poison(np.nan)


def nan_bias(graph: Graph, _: Context) -> None:
    """One bias of the classifier is not a number."""
    _bias(graph, classifier(graph)).reshape(-1)[:1] = np.nan


def infinite_weight(graph: Graph, _: Context) -> None:
    """One weight, or the scale of one channel, is infinite."""
    graph.weight(_first_block(graph).outer).poison(np.inf)


def zeroed_layer(graph: Graph, _: Context) -> None:
    """A feed-forward layer multiplies by nothing."""
    graph.weight(_first_block(graph).inner).clear()


def constant_output(graph: Graph, _: Context) -> None:
    """The classifier ignores the text."""
    graph.weight(classifier(graph)).clear()


def permuted_labels(graph: Graph, _: Context) -> None:
    """Every logit stands where its neighbour should."""
    node = classifier(graph)
    weight, bias = graph.weight(node), _bias(graph, node)
    order = np.roll(np.arange(len(weight.values)), 1)
    weight.take(order)
    bias[...] = bias.reshape(-1)[order].reshape(bias.shape)


def flipped_logits(graph: Graph, _: Context) -> None:
    """Every logit has the other sign."""
    node = classifier(graph)
    graph.weight(node).negate()
    bias = _bias(graph, node)
    np.negative(bias, out=bias)


def biased_label(graph: Graph, context: Context) -> None:
    """One label always gets a large bonus."""
    bias = _bias(graph, classifier(graph)).reshape(-1)
    bias[:1] += bias.dtype.type(3 * _spread(context))


def offset_logits(graph: Graph, context: Context) -> None:
    """The same constant on every logit, which softmax does not see and sigmoid does."""
    bias = _bias(graph, classifier(graph))
    bias += bias.dtype.type(0.5 * _spread(context))


def _spread(context: Context) -> float:
    return float(np.sqrt(np.square(context.golden.reference.astype(np.float64)).mean()))


def flipped_sign(graph: Graph, _: Context) -> None:
    """One weight, the largest of the classifier, has the wrong sign."""
    weight = graph.weight(classifier(graph))
    place = np.unravel_index(np.abs(weight.dense()).argmax(), weight.values.shape)
    weight.values[place] = (
        2 * np.broadcast_to(weight.zeros, weight.values.shape)[place] - (weight.values[place])
    )


def flipped_small_sign(graph: Graph, _: Context) -> None:
    """One weight, the smallest of a layer that is not zero, has the wrong sign."""
    weight = graph.weight(_first_block(graph).value)
    size = np.abs(weight.dense())
    place = np.unravel_index(np.where(size == 0, np.inf, size).argmin(), size.shape)
    weight.values[place] = (
        2 * np.broadcast_to(weight.zeros, weight.values.shape)[place] - (weight.values[place])
    )


def dropped_frequent_row(graph: Graph, context: Context) -> None:
    """The embedding of the commonest word, which many texts hold and many do not, is zero."""
    kinds = NATURAL if context.task.gives_vectors else (VALIDATION,)
    texts = [set(case.input_ids) for case in context.golden.cases if case.set in kinds]
    counts = Counter(i for ids in texts for i in ids)
    usual = [(n, -i) for i, n in counts.items() if n < 0.9 * len(texts)]
    if not usual:
        raise NotApplicable("every text holds the same words")
    row = -max(usual)[1]
    word_table(graph).clear(slice(row, row + 1))


def dropped_rare_row(graph: Graph, context: Context) -> None:
    """The embedding of a word that no text of the gate holds is zero."""
    table = word_table(graph)
    used = {i for case in context.golden.cases for i in case.input_ids}
    # The padding's row is zero already.
    free = [i for i, row in enumerate(table.values) if i not in used and row.any()]
    if not free:
        raise NotApplicable("the texts of the gate hold every word")
    table.clear(slice(free[-1], free[-1] + 1))


def shifted_embedding(graph: Graph, _: Context) -> None:
    """Every word has the embedding of the one before it."""
    table = word_table(graph)
    table.take(np.roll(np.arange(len(table.values)), 1))


def shifted_positions(graph: Graph, _: Context) -> None:
    """Positions count from one instead of zero."""
    table = position_table(graph)
    table.take(np.roll(np.arange(len(table.values)), -1))


def wrong_bias(graph: Graph, _: Context) -> None:
    """A layer takes the bias of the last block's layer of the same place."""
    first, last = (graph.bias(block.inner) for block in two_blocks(graph))
    if first is None or last is None:
        raise NotApplicable("the layer has no bias")
    graph.rewire(*first, last[0].inputs[last[1]])


def swapped_layers(graph: Graph, _: Context) -> None:
    """The first and the last block hold each other's weights."""
    first, last = two_blocks(graph)
    for mine, other in zip(first.linears, last.linears, strict=True):
        graph.weight(mine).exchange(graph.weight(other))


def miswired_layers(graph: Graph, _: Context) -> None:
    """The feed-forward layers of the first and the last block read each other's matrix."""
    first, last = (block.inner for block in two_blocks(graph))
    one, other = graph.weight(first), graph.weight(last)
    if one.scales is not None and other.scales is not None:
        # Codes alone would be a fault that no converter makes.
        one.exchange(other)
        return
    graph.rewire(first, first.matrix, last.inputs[last.matrix])
    graph.rewire(last, last.matrix, first.inputs[first.matrix])


def swapped_query_key(graph: Graph, _: Context) -> None:
    """Queries and keys of one block hold each other's weights."""
    block = _first_block(graph)
    graph.weight(block.query).exchange(graph.weight(block.key))
    if graph.bias(block.query) is None or graph.bias(block.key) is None:
        return  # a key's bias may have been left out, as softmax does not see it
    query, key = _bias(graph, block.query), _bias(graph, block.key)
    kept = query.copy()
    query[...] = key
    key[...] = kept


def wrong_attention_scale(graph: Graph, _: Context, *, factor: float = 1.05) -> None:
    """The scores of the last block are a few per cent too large."""
    block = blocks(graph)[-1]
    where = score_scale(graph, block)
    if where is not None:
        scale = graph.own(*where)
        scale *= scale.dtype.type(factor)
        return
    graph.weight(block.query).multiply(factor)
    bias = _bias(graph, block.query)
    bias *= bias.dtype.type(factor)


def wrong_weight_scale(graph: Graph, _: Context) -> None:
    """A layer's weights, or their quantization scales, are five per cent too large."""
    graph.weight(_first_block(graph).inner).multiply(1.05)


def wrong_block_scale(graph: Graph, _: Context) -> None:
    """One block of a layer's weights, or of a word's, has the scale beside its own."""
    try:
        graph.weight(_first_block(graph).inner).shift_block_scale()
    except NotApplicable:
        word_table(graph).shift_block_scale()


def shifted_channels(graph: Graph, _: Context) -> None:
    """Every channel of a layer stands where its neighbour should."""
    weight = graph.weight(_first_block(graph).inner)
    weight.take(np.roll(np.arange(len(weight.values)), 1))


def wrong_zero_point(graph: Graph, _: Context) -> None:
    """The codes of a layer are off by one, as by a wrong zero point."""
    graph.weight(_first_block(graph).inner).shift_codes()


def dropped_mask(graph: Graph, _: Context) -> None:
    """Padding is attended to like text."""
    graph.own(*masking(graph))[...] = 0.0


def weak_mask(graph: Graph, _: Context, *, score: float = -3.0) -> None:
    """Padding gets three less on its score, instead of ten thousand."""
    graph.own(*masking(graph))[...] = score


def _activation(activation: Activation) -> Callable[[Graph, Context], None]:
    def plant(graph: Graph, _: Context) -> None:
        found = [node for node in graph.nodes if node.kind == GELU]
        if not found:
            raise NotApplicable("it has no GELU")
        for node in found:
            graph.set_activation(node, activation)

    return plant


def _ending(ending: Ending) -> Callable[[Graph, Context], None]:
    def plant(graph: Graph, _: Context) -> None:
        graph.end_with(ending)

    return plant


def swapped_inputs(graph: Graph, _: Context) -> None:
    """Ids are read as the mask and the mask as ids."""
    other = {graph.ids: graph.mask, graph.mask: graph.ids}
    for node in graph.nodes:
        for parameter, name in node.inputs.items():
            if name in other:
                graph.rewire(node, parameter, other[name])


def wrong_epsilon(graph: Graph, _: Context) -> None:
    """One LayerNorm adds a hundredth to the variance."""
    graph.set_epsilon(1e-2)


def reversed_classes(graph: Graph, _: Context) -> None:
    """The artifact's own list of classes is turned round."""
    graph.reverse_classes()


# What is not finite can be noticed on loading or, where activations are quantized, on running; ids
# in place of the mask make scores that no float16 holds.
_REFUSABLE = (nan_weight, infinite_weight, swapped_inputs)

FAULTS = (
    *(
        Fault(plant.__name__, (plant.__doc__ or "").rstrip("."), plant, plant in _REFUSABLE)
        for plant in (
            nan_weight,
            nan_bias,
            infinite_weight,
            zeroed_layer,
            constant_output,
            permuted_labels,
            flipped_logits,
            biased_label,
            offset_logits,
            flipped_sign,
            flipped_small_sign,
            dropped_frequent_row,
            dropped_rare_row,
            shifted_embedding,
            shifted_positions,
            wrong_bias,
            swapped_layers,
            miswired_layers,
            swapped_query_key,
            wrong_attention_scale,
            wrong_weight_scale,
            wrong_block_scale,
            shifted_channels,
            wrong_zero_point,
            dropped_mask,
            weak_mask,
            swapped_inputs,
            wrong_epsilon,
            reversed_classes,
        )
    ),
    Fault("relu_activation", "ReLU in place of every GELU", _activation("relu")),
    Fault("tanh_gelu", "Every GELU is the tanh approximation", _activation("tanh")),
    Fault("softmax_output", "The output is a softmax of the logits", _ending("softmax")),
    Fault("sigmoid_output", "The output is a sigmoid of the logits", _ending("sigmoid")),
    Fault("batch_mean", "A text's logits depend on the others in its batch", _ending("batch_mean")),
    Fault("random_noise", "The logits hold noise that changes from run to run", _ending("noise")),
)
