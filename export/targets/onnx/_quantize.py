"""Linear layers and look-ups with integer weights, in standard operators.

A linear layer is multiplied as integers, with one scale per output channel:

    x ─ DynamicQuantizeLinear ─ MatMulInteger ─ Cast ─ Mul(scale of x · scales of W) ─ (bias Add)

Its matrix is stored as int8, or unpacked to int8 from int4. Where a recipe divides outliers away, x
is multiplied by the inverse of a divisor per channel first, and the rows of W by the divisor.

onnxruntime joins these into one kernel. The scale of x is one number per run: it is taken over the
whole batch, padding included, so int8 logits of a text depend a little on its neighbours.

A looked-up table's rows are looked up as integers and scaled afterwards.

Products of two activations (inside attention) and vectors stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS, ONNX_SMALLEST_AXIS
from export.targets.onnx._edit import constant_of, new_constant, new_node
from export.targets.onnx._int4 import int4_matrix, int4_rows
from export.targets.onnx._int8 import int8_matrix, int8_rows
from export.targets.onnx._rules import check_rule, check_rules

# Operator → where its weight is.
_LINEAR, _LOOKUPS = {"MatMul": 1, "Gemm": 1}, {"Gather": 0, "Slice": 0}

Divisors = Mapping[str, npt.NDArray[np.float32]]
NO_DIVISORS: Divisors = {}


def quantize_model(model: ir.Model, recipe: Recipe, divisors: Divisors = NO_DIVISORS) -> None:
    """Rewrite a float32 model in place as the recipe says.

    Args:
        model: as `onnx_from_reference` makes it.
        recipe: what to make of it.
        divisors: as `Job.divisors`.

    Raises:
        UserError: the recipe is another target's, has a rule that this target does not know, or
            one that a weight's shape does not allow.
    """
    check_rules(recipe)
    if any(rule.granularity == "block" for rule in (recipe.embedding, *recipe.layers.values())):
        # Rows in blocks are joined again, for which the number of their axes must be known.
        common.ShapeInferencePass()(model)
    graph = model.graph
    matrices: dict[str, ir.Value] = {}
    for node in list(graph):
        place = (_LINEAR | _LOOKUPS).get(node.op_type)
        if place is None or not _fits(node, place):
            continue
        kind = "linear" if node.op_type in _LINEAR else "embedding"
        rule = recipe.rule_for(_value(node, place).name or "", kind)
        check_rule(rule, kind, recipe.name)
        if rule.precision == "float32":
            continue
        # An output's name is unique, which a node's need not be. It is freed first, so that what
        # stands in for the node can carry it on.
        output = node.outputs[0]
        name, output.name = output.name or "", None
        if kind == "linear":
            new = _integer_product(graph, node, name, rule, divisors, matrices)
        else:
            new = _integer_lookup(graph, node, name, rule)
        graph.insert_before(node, new)
        replacement = new[-1].outputs[0]
        output.replace_all_uses_with(replacement, replace_graph_outputs=True)
        replacement.name, replacement.type, replacement.shape = name, output.type, output.shape
        graph.remove(node, safe=True)
    for value in list(graph.initializers.values()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[value.name or ""]


def _fits(node: ir.Node, place: int) -> bool:
    """Whether a node multiplies by, or looks up in, a float32 weight worth storing as integers."""
    weight = constant_of(node.inputs[place])
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
        return False
    if min(weight.shape[-2:]) < ONNX_SMALLEST_AXIS and weight.size < LARGE_WEIGHT_ELEMENTS:
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
    graph: ir.Graph,
    node: ir.Node,
    name: str,
    rule: WeightsRule,
    divisors: Divisors,
    matrices: dict[str, ir.Value],
) -> list[ir.Node]:
    """Nodes that stand in for a linear layer; `matrices` are those that are stored already."""
    source, weight = _value(node, 0), _value(node, 1)
    own = weight.name or ""
    array = _array(weight)
    if node.attributes.get_int("transB", 0):
        array = array.T
    new = []
    divisor = divisors.get(own.removesuffix(".weight"))
    if divisor is not None:
        array = array * divisor[:, None]
        source, made = _divided(graph, source, divisor)
        new += made
    if own not in matrices:
        store = int4_matrix if rule.precision == "int4" else int8_matrix
        matrices[own], made = store(graph, own, array, rule)
        new += made
    activation = next((n for n, _ in source.uses() if n.op_type == "DynamicQuantizeLinear"), None)
    if activation is None:
        activation = new_node(
            "DynamicQuantizeLinear", [source], f"{source.name}/quantized", outputs=3
        )
        new.append(activation)
    integers, scale, zero_point = activation.outputs
    product = new_node(
        "MatMulInteger", [integers, matrices[own], zero_point], f"{name}/MatMulInteger"
    )
    cast = new_node("Cast", [product.outputs[0]], f"{name}/Cast", to=ir.DataType.FLOAT)
    both = new_node("Mul", [scale, graph.initializers[f"{own}/scales"]], f"{name}/scales")
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


def _integer_lookup(graph: ir.Graph, node: ir.Node, name: str, rule: WeightsRule) -> list[ir.Node]:
    table = _value(node, 0)
    own, array = table.name or "", _array(table)
    if rule.precision == "int8":
        return int8_rows(graph, node, name, own, array)
    shape = node.outputs[0].shape
    if shape is None:
        raise ValueError(f"the shape of {name} is not known")
    return int4_rows(graph, node, name, own, array, rule, len(shape))


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} has no input {index}")
    return value


def _array(value: ir.Value) -> npt.NDArray[np.float32]:
    if value.const_value is None:
        raise ValueError(f"{value.name} is not a constant")
    return np.asarray(value.const_value.numpy(), dtype=np.float32)
