"""Names that say where in the PyTorch model a node, a tensor or a weight comes from.

`distilbert.transformer.layer.0.ffn.lin1/MatMul` can be found in a profile, in Netron and by a
bisection; `node_MatMul_76` depends on the exporter's counters.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

import numpy as np
import onnx_ir as ir

from export.targets.onnx._edit import constant_of
from export.targets.onnx._transposes import TURNED

_SCOPES = "pkg.torch.onnx.name_scopes"
# The wrapper's own attribute, see export.reference.LogitsOnly.
_WRAPPER = "model."
# What the exporter, our passes and no PyTorch model call a tensor.
_NUMBERED = re.compile(rf"^(val_\d+|(reshape_to|slice)_[\w-]+|{TURNED}.*)$")


def name_after_modules(graph: ir.Graph) -> None:
    """Rename nodes, values and initializers; inputs and outputs of the graph keep their names."""
    used: Counter[str] = Counter(value.name or "" for value in (*graph.inputs, *graph.outputs))
    initializers = list(graph.initializers.values())
    # First what PyTorch named, so that these names are free of suffixes.
    new: dict[ir.Value, str] = {}
    for stored in initializers:
        if not _NUMBERED.match(stored.name or ""):
            new[stored] = _unique((stored.name or "").removeprefix(_WRAPPER), used)
    _share_weights(graph)
    for node in graph:
        scope = _scope(node)
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value in new:
                continue
            # The exporter stores a linear layer's weight transposed and forgets its name.
            weight = node.op_type == "MatMul" and index == 1 and scope
            new[value] = _unique(f"{scope}.weight" if weight else "constant", used)
        node.name = _unique(f"{scope}/{node.op_type}" if scope else node.op_type, used)
        for index, output in enumerate(node.outputs):
            if not output.is_graph_output():
                output.name = node.name if len(node.outputs) == 1 else f"{node.name}:{index}"
    graph.initializers.clear()
    for stored in initializers:
        if stored in new:  # whatever has no reader is not written
            stored.name = new[stored]
            if stored.const_value is not None:
                stored.const_value.name = stored.name
            graph.register_initializer(stored)


def _share_weights(graph: ir.Graph) -> None:
    """Keep the matrix of a module that runs again and again once: ALBERT's layers are all one."""
    first: dict[str, ir.Value] = {}
    for node in graph:
        scope = _scope(node)
        value = node.inputs[1] if node.op_type == "MatMul" and scope else None
        if value is None or not value.is_initializer():
            continue
        known = first.setdefault(scope, value)
        mine, other = constant_of(value), constant_of(known)
        if known is value or mine is None or other is None:
            continue
        if np.array_equal(mine, other):
            node.replace_input_with(1, known)


def _scope(node: ir.Node) -> str:
    """Path of the PyTorch module that a node was traced in; empty for the outermost."""
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "['', '']"))
    path: str = scopes[-2] if len(scopes) > 1 else ""
    # A node without a module, such as Shape of an input, has a note of the tracer here.
    if path.startswith("_"):
        return ""
    return path.removeprefix(_WRAPPER) if path != _WRAPPER.rstrip(".") else ""


def _unique(name: str, used: Counter[str]) -> str:
    used[name] += 1
    return name if used[name] == 1 else _unique(f"{name}_{used[name]}", used)
