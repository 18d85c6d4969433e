"""What an ONNX file really holds, found through the use that its graph makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from export.targets.base import Description, WeightInfo
from export.targets.onnx._scales import packed_weight, scales_of
from export.targets.rest import rest_of
from runtime.constants_digest import digest
from runtime.errors import UserError
from runtime.manifest import TensorSpec

# onnxruntime.ai/docs/reference/compatibility.html: opset, and version of the file format, → the
# first onnxruntime that has them.
_SINCE_OPSET = {17: (1, 12), 18: (1, 14), 19: (1, 15), 20: (1, 17), 21: (1, 18)}
_SINCE_IR = {8: (1, 12), 9: (1, 15), 10: (1, 18)}

_SMALLEST_WEIGHT = 256
_PRECISIONS = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.INT8: "int8",
    ir.DataType.UINT8: "uint8",
    ir.DataType.INT4: "int4",
    ir.DataType.UINT4: "uint4",
}
_PRODUCTS = {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"}
_LOOKUPS = {"Gather", "Slice"}


def description_of(
    model: ir.Model, path: Path, constants: Mapping[str, npt.NDArray[Any]]
) -> Description:
    """Describe a model.

    Args:
        model: what is described.
        path: where it was read from, for messages.
        constants: every constant of the file, as the session that compares them reads it.

    Raises:
        UserError: the file is older or newer than the versions that we know.
    """
    graph = model.graph
    weights = _weights(graph, constants)
    rest = rest_of(constants, {weight.name for weight in weights})
    return Description(
        inputs=tuple(_tensor(value) for value in graph.inputs if not value.is_initializer()),
        outputs=tuple(_tensor(value) for value in graph.outputs),
        lengths=None,
        minimum_runtime={"onnxruntime": _minimum_runtime(model, path)},
        weights=(*weights, rest),
        operators=dict(sorted(Counter(_operator(node) for node in graph.all_nodes()).items())),
    )


def _minimum_runtime(model: ir.Model, path: Path) -> str:
    opset = model.opset_imports.get("", 0)
    if opset not in _SINCE_OPSET or model.ir_version not in _SINCE_IR:
        raise UserError(
            f"{path} has opset {opset} and IR version {model.ir_version}",
            why=f"this release knows opsets {min(_SINCE_OPSET)} to {max(_SINCE_OPSET)} "
            f"and IR versions {min(_SINCE_IR)} to {max(_SINCE_IR)}",
            todo="export it again",
        )
    major, minor = max(_SINCE_OPSET[opset], _SINCE_IR[model.ir_version])
    return f"{major}.{minor}.0"


def _operator(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _tensor(value: ir.Value) -> TensorSpec:
    dtype = value.dtype.numpy().name if value.dtype is not None else "unknown"
    axes = value.shape if value.shape is not None else ()
    shape = tuple(axis if isinstance(axis, int) else axis.value or "?" for axis in axes)
    return TensorSpec(name=value.name or "", dtype=dtype, shape=shape)


def _weights(graph: ir.Graph, constants: Mapping[str, npt.NDArray[Any]]) -> tuple[WeightInfo, ...]:
    """Every numeric initializer of some size, less the scales, which belong to their integers."""
    stored = [
        value
        for value in graph.initializers.values()
        if value.dtype in _PRECISIONS and value.const_value is not None
    ]
    packed = {value: found for value in stored if (found := packed_weight(value)) is not None}
    scales = {value: found.scales for value, found in packed.items()}
    scales |= {v: its for v in stored if v not in packed if (its := scales_of(v))}
    own = {value for its in scales.values() for value in its}
    own |= {each.table for each in packed.values()}
    weights = []
    for value in stored:
        tensor = value.const_value
        if value in own or tensor is None or tensor.size < _SMALLEST_WEIGHT:
            continue
        parts = [part.const_value for part in scales.get(value, ())]
        its_scales = [part for part in parts if part is not None]
        name = value.name or ""
        shape, precision, role = tensor.numpy().shape, _PRECISIONS[tensor.dtype], _role(value)
        if value in packed:
            shape, precision, role = packed[value].shape, "int4", packed[value].role
        size = tensor.nbytes + sum(part.nbytes for part in its_scales)
        weights.append(
            WeightInfo(
                name=name,
                shape=shape,
                precision=precision,
                role=role,
                scales=max((part.size for part in its_scales), default=0),
                bits=8 * size / math.prod(shape),
                sha256=digest(name, constants[name]),
            )
        )
    return tuple(weights)


def _role(value: ir.Value) -> str:
    # A transposed or cast weight is the same weight.
    for node, index in value.uses():
        if node.op_type in _PRODUCTS and not (node.op_type == "Gemm" and index == 2):
            return "linear"
        if node.op_type in _LOOKUPS and index == 0:
            return "embedding"
        if node.op_type in ("Transpose", "Cast") and (role := _role(node.outputs[0])) != "other":
            return role
    return "other"
