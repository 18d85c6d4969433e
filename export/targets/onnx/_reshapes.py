"""Reshapes that compute their target at run time → reshapes to a constant.

`x.view(batch, length, heads, -1)` is traced as Shape, Concat, Reshape. ONNX's Reshape can say "copy
this axis" (0) and "whatever is left" (-1), which needs no arithmetic and stays right when another
pass shortens an axis.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.targets.onnx._edit import constant_of, new_constant


def make_reshapes_static(graph: ir.Graph) -> None:
    """Give every Reshape a constant target where its shapes allow it."""
    for node in graph:
        if node.op_type != "Reshape":
            continue
        source, target = node.inputs
        if source is None or target is None or constant_of(target) is not None:
            continue
        if (static := _target(source.shape, node.outputs[0].shape)) is None:
            continue
        name = "reshape_to_" + "_".join(str(axis) for axis in static)
        node.replace_input_with(1, new_constant(graph, name, np.array(static, np.int64)))
        node.attributes.pop("allowzero", None)


def _target(source: ir.Shape | None, result: ir.Shape | None) -> list[int] | None:
    """Reshape's second input: a number, 0 for an axis that is copied, at most one -1."""
    if source is None or result is None:
        return None
    target: list[int] = []
    for index, axis in enumerate(result):
        if isinstance(axis, int):
            target.append(axis)
        elif axis.value is not None and index < len(source) and source[index] == axis:
            target.append(0)
        else:
            target.append(-1)
    # A real 0 would now read as "copy".
    if target.count(-1) > 1 or 0 in (axis for axis in result if isinstance(axis, int)):
        return None
    return target
