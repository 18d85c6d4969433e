"""Matrices that the graph turns round each time it runs → stored the way they are read.

The exporter does this itself, but not for a large matrix with several readers, such as those of
ALBERT, whose layers are all one.
"""

from __future__ import annotations

import onnx_ir as ir

from export.targets.onnx._edit import constant_of, new_constant

TURNED = "turned_"


def store_transposed(graph: ir.Graph) -> None:
    """Fold every Transpose of a stored matrix; one copy serves all readers."""
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Transpose" else None
        array = constant_of(source)
        if source is None or array is None or array.ndim != 2:
            continue
        perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else [1, 0]
        if list(perm) != [1, 0] or node.outputs[0].is_graph_output():
            continue
        turned = new_constant(graph, f"{TURNED}{source.name}", array.T)
        node.outputs[0].replace_all_uses_with(turned)
        graph.remove(node, safe=True)
        if not source.uses() and not source.is_graph_output():
            del graph.initializers[source.name or ""]
