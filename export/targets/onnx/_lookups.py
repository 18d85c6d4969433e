"""Lookups whose rows are known beforehand → slices of the table.

Positions are 0, 1, 2 … and one text is one segment, yet transformers makes ids of both and gathers
them. A Slice needs no ids, and a runtime folds one of constant bounds when it loads the file.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.targets.onnx._edit import constant_of, new_constant, new_node


def slice_known_lookups(graph: ir.Graph) -> int:
    """Replace `Gather(table, ids)` by `Slice(table)` where ids are a run of rows, or one row.

    Only where the result is added to something, so that axes of length 1 may be missing.

    Returns:
        The number of lookups that were replaced.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
            continue
        table, ids = node.inputs
        array = constant_of(table)
        if table is None or ids is None or array is None or array.ndim != 2:
            continue
        if any(reader.op_type != "Add" for reader, _ in node.outputs[0].uses()):
            continue
        bounds = _one_row(graph, ids) or _run_of_rows(ids)
        if bounds is None:
            continue
        output = node.outputs[0]
        name, output.name = output.name or "", None
        rows = new_constant(graph, "slice_rows_axis", np.array([0], np.int64))
        new = new_node("Slice", [table, *bounds, rows], name)
        new.metadata_props.update(node.metadata_props)
        graph.insert_before(node, new)
        new.outputs[0].type = output.type
        new.outputs[0].shape = _shape(bounds, output.shape, array.shape[1])
        output.replace_all_uses_with(new.outputs[0])
        graph.remove(node, safe=True)
        count += 1
    return count


def _one_row(graph: ir.Graph, ids: ir.Value) -> list[ir.Value] | None:
    """Bounds of the one row that every id names: ids are a constant that was spread out."""
    maker = ids.producer()
    array = constant_of(ids)
    if array is None and maker is not None and maker.op_type == "Expand":
        array = constant_of(maker.inputs[0])
    if array is None or array.size == 0 or (array != array.flat[0]).any():
        return None
    row = int(array.flat[0])
    return [
        new_constant(graph, f"slice_{number}", np.array([number], np.int64))
        for number in (row, row + 1)
    ]


def _run_of_rows(ids: ir.Value) -> list[ir.Value] | None:
    """Bounds of rows in their order: ids are a slice of the constant 0, 1, 2 …, all but one axis 1.

    A bound of the ids is then a bound of the rows, whatever it is at run time.
    """
    maker = ids.producer()
    while maker is not None and maker.op_type in ("Unsqueeze", "Reshape"):
        above = maker.inputs[0]
        maker = None if above is None else above.producer()
    if maker is None or maker.op_type != "Slice" or len(maker.inputs) < 4:
        return None
    every, axes = constant_of(maker.inputs[0]), constant_of(maker.inputs[3])
    steps = constant_of(maker.inputs[4]) if len(maker.inputs) > 4 else np.array([1])
    if every is None or axes is None or axes.size != 1 or steps is None or (steps != 1).any():
        return None
    axis = int(axes[0]) % every.ndim
    if every.size != every.shape[axis] or (every.ravel() != np.arange(every.size)).any():
        return None
    bounds = [value for value in maker.inputs[1:3] if value is not None]
    return bounds if len(bounds) == 2 else None


def _shape(bounds: list[ir.Value], old: ir.Shape | None, width: int) -> ir.Shape | None:
    """Later passes want to know it."""
    start, end = (constant_of(value) for value in bounds)
    if start is not None and end is not None:
        return ir.Shape((int(end[0] - start[0]), width))
    return ir.Shape((old[-2], width)) if old is not None and len(old) >= 2 else None
