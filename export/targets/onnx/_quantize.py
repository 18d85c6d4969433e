"""int8 weights with standard operators.

A linear layer's weight gets one scale per output channel and is multiplied as integers:

    x ─ DynamicQuantizeLinear ─ MatMulInteger ─ Cast ─ Mul(scale of x · scales of W) ─ (bias Add)

Where a recipe divides outliers away, x is multiplied by the inverse of a divisor per channel first,
and the rows of W by the divisor.

onnxruntime joins these into one kernel. The scale of x is one number per run: it is taken over the
whole batch, padding included, so int8 logits of a text depend a little on its neighbours.

A looked-up table gets one scale per row; rows are looked up as int8 and scaled afterwards.

Products of two activations (inside attention) and vectors stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from export.recipes import Recipe, WeightsRule
from export.targets.base import LARGE_WEIGHT_ELEMENTS
from export.targets.onnx._edit import constant_of, new_constant, new_node
from runtime.errors import UserError

_FLOAT = WeightsRule(precision="float32", granularity="none", algorithm="none")
_LINEAR = WeightsRule(precision="int8", granularity="channel", algorithm="minmax")
_REDUCED = replace(_LINEAR, reduce_range=True)
_EMBEDDING = WeightsRule(precision="int8", granularity="row", algorithm="minmax")
# AVX2 without VNNI adds two products of an unsigned activation and a signed weight in 16 bits:
# 2 · 255 · 64 fits, 2 · 255 · 127 does not (onnxruntime#14642). onnxruntime's reduce_range.
_REDUCED_LARGEST = 64

# Below this many rows or columns (a classifier of a few labels) the extra operators cost more than
# int8 saves, unless the weight is large all the same.
_SMALLEST_AXIS = 16

Divisors = Mapping[str, npt.NDArray[np.float32]]
NO_DIVISORS: Divisors = {}

# Makes the nodes that stand in for one node, whose output has the name that is given. The last
# one's output stands in for it.
_Rewrite = Callable[[ir.Graph, ir.Node, str], list[ir.Node]]


def quantize_model(model: ir.Model, recipe: Recipe, divisors: Divisors = NO_DIVISORS) -> None:
    """Rewrite a float32 model in place as the recipe says.

    Args:
        model: as `onnx_from_reference` makes it.
        recipe: what to make of it.
        divisors: as `Job.divisors`.

    Raises:
        UserError: the recipe is another target's, or has a rule that this target does not know.
    """
    if recipe.target != "onnx":
        raise UserError(f"recipe {recipe.name} is for {recipe.target}, not for onnx")
    rewrites: dict[str, _Rewrite] = {}
    known = _REDUCED if recipe.linear.reduce_range else _LINEAR
    if _is_int8(recipe, "linear", recipe.linear, known):
        product = partial(
            _integer_product,
            largest=_REDUCED_LARGEST if recipe.linear.reduce_range else 127,
            divisors=divisors,
        )
        rewrites.update(MatMul=product, Gemm=product)
    if _is_int8(recipe, "embedding", recipe.embedding, _EMBEDDING):
        rewrites.update(Gather=_integer_lookup, Slice=_integer_lookup)
    graph = model.graph
    for node in list(graph):
        rewrite = rewrites.get(node.op_type)
        if rewrite is None or not _fits(node):
            continue
        # An output's name is unique, which a node's need not be. It is freed first, so that what
        # stands in for the node can carry it on.
        output = node.outputs[0]
        name, output.name = output.name or "", None
        new = rewrite(graph, node, name)
        graph.insert_before(node, new)
        replacement = new[-1].outputs[0]
        output.replace_all_uses_with(replacement, replace_graph_outputs=True)
        replacement.name, replacement.type, replacement.shape = name, output.type, output.shape
        graph.remove(node, safe=True)
    for value in list(graph.initializers.values()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[value.name or ""]


def int8_of(
    weight: npt.NDArray[np.float32], axis: int, *, largest: int = 127
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8: the largest magnitude along `axis` becomes `largest`, zero stays zero.

    Args:
        weight: float32, any shape.
        axis: the axis that shares a scale.
        largest: at most 127.

    Returns:
        int8 in [-largest, largest] of the same shape, and float32 scales with `axis` kept as 1, so
        that their product is about `weight`. Zeros alone get the scale 1.

    Raises:
        UserError: a weight is not finite.
    """
    peaks = np.abs(weight).max(axis=axis, keepdims=True)
    if not np.isfinite(peaks).all():
        raise UserError("a weight is NaN or infinite", todo="train the model again")
    scales = (peaks / np.float32(largest)).astype(np.float32)
    # The smallest denormals divide to 0.
    scales[scales == 0] = 1
    # -128 has no positive twin, so it is not used.
    return np.clip(np.rint(weight / scales), -largest, largest).astype(np.int8), scales


def _is_int8(recipe: Recipe, kind: str, rule: WeightsRule, known: WeightsRule) -> bool:
    if rule not in (_FLOAT, known):
        asked = f"{rule.precision}, per {rule.granularity}, {rule.algorithm}"
        can = f"{known.precision}, per {known.granularity}, {known.algorithm}"
        raise UserError(
            f"recipe {recipe.name} asks for {kind} weights as {asked}",
            why=f"onnx has: {can}, or float32",
        )
    return rule == known


def _fits(node: ir.Node) -> bool:
    """Whether a node multiplies by, or looks up in, a float32 weight worth storing as int8."""
    linear = node.op_type in ("MatMul", "Gemm")
    weight = constant_of(node.inputs[1 if linear else 0])
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
        return False
    if min(weight.shape[-2:]) < _SMALLEST_AXIS and weight.size < LARGE_WEIGHT_ELEMENTS:
        return False
    get = node.attributes
    if node.op_type == "MatMul":
        return weight.ndim == 2
    if node.op_type == "Gemm":
        plain = get.get_float("alpha", 1.0) == get.get_float("beta", 1.0) == 1.0
        return plain and not get.get_int("transA", 0)
    if node.op_type == "Gather":
        return get.get_int("axis", 0) == 0
    # A Slice may take anything but a part of a row, whose scale is shared.
    axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
    return axes is not None and not {-1, weight.ndim - 1} & set(axes.tolist())


def _integer_product(
    graph: ir.Graph, node: ir.Node, name: str, *, largest: int, divisors: Divisors
) -> list[ir.Node]:
    source, weight = _value(node, 0), _value(node, 1)
    array = _array(weight)
    if node.attributes.get_int("transB", 0):
        array = array.T
    new = []
    divisor = divisors.get((weight.name or "").removesuffix(".weight"))
    if divisor is not None:
        array = array * divisor[:, None]
        source, made = _divided(graph, source, divisor)
        new += made
    stored = f"{weight.name}/int8"
    if stored not in graph.initializers:
        quantized, scales = int8_of(array, axis=0, largest=largest)
        new_constant(graph, stored, quantized)
        new_constant(graph, f"{weight.name}/scales", scales[0])
    activation = next((n for n, _ in source.uses() if n.op_type == "DynamicQuantizeLinear"), None)
    if activation is None:
        activation = new_node(
            "DynamicQuantizeLinear", [source], f"{source.name}/quantized", outputs=3
        )
        new.append(activation)
    integers, scale, zero_point = activation.outputs
    product = new_node(
        "MatMulInteger",
        [integers, graph.initializers[stored], zero_point],
        f"{name}/MatMulInteger",
    )
    cast = new_node("Cast", [product.outputs[0]], f"{name}/Cast", to=ir.DataType.FLOAT)
    both = new_node("Mul", [scale, graph.initializers[f"{weight.name}/scales"]], f"{name}/scales")
    result = new_node("Mul", [cast.outputs[0], both.outputs[0]], name)
    new += [product, cast, both, result]
    if len(node.inputs) > 2 and node.inputs[2] is not None:  # Gemm's bias
        result.name = f"{name}/Mul"
        result.outputs[0].name = result.name
        new.append(new_node("Add", [result.outputs[0], node.inputs[2]], name))
    return new


def _divided(
    graph: ir.Graph, source: ir.Value, divisor: npt.NDArray[np.float32]
) -> tuple[ir.Value, list[ir.Node]]:
    """A value over a divisor, and the node that makes it if no layer before had use for it."""
    name = f"{source.name}/divided"
    for node, _ in source.uses():
        if node.name == name:
            return node.outputs[0], []
    inverse = new_constant(graph, f"{source.name}/inverse_divisor", 1 / divisor)
    node = new_node("Mul", [source, inverse], name)
    return node.outputs[0], [node]


def _integer_lookup(graph: ir.Graph, node: ir.Node, name: str) -> list[ir.Node]:
    table = _value(node, 0)
    stored = f"{table.name}/int8_rows"
    if stored not in graph.initializers:
        quantized, scales = int8_of(_array(table), axis=-1)
        new_constant(graph, stored, quantized)
        new_constant(graph, f"{table.name}/row_scales", scales)
    parts = []
    for part, suffix in ((stored, "rows"), (f"{table.name}/row_scales", "row_scales")):
        where = [value for value in node.inputs[1:] if value is not None]
        attributes = {key: attribute.value for key, attribute in node.attributes.items()}
        inputs = [graph.initializers[part], *where]
        parts.append(new_node(node.op_type, inputs, f"{name}/{suffix}", **attributes))
    rows, scale = parts
    cast = new_node("Cast", [rows.outputs[0]], f"{name}/Cast", to=ir.DataType.FLOAT)
    return [rows, scale, cast, new_node("Mul", [cast.outputs[0], scale.outputs[0]], name)]


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} has no input {index}")
    return value


def _array(value: ir.Value) -> npt.NDArray[np.float32]:
    if value.const_value is None:
        raise ValueError(f"{value.name} is not a constant")
    return np.asarray(value.const_value.numpy(), dtype=np.float32)
