"""What a Core AI asset really holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from export.targets.base import Description, WeightInfo
from export.targets.coreai._program import (
    GRAPH,
    Constant,
    Program,
    constants,
    ir,
    operations,
    operator_of,
    read_program,
    text,
)
from runtime.errors import UserError
from runtime.manifest import TensorSpec

_ENTRY = "main"
_FREE_AXES = ("batch", "length")
_DTYPES = {"f32": "float32", "f16": "float16", "si32": "int32", "si64": "int64"}
_MATMULS = {"batch_matmul", "broadcasting_batch_matmul"}
_GATHERS = {"gather_nd", "gather_along_axis"}
_MIN_ELEMENTS = 256


def description_of(path: Path) -> Description:
    """See `export.targets.coreai.describe`."""
    program = read_program(path)
    inputs, outputs = _signature(program, path)
    operators = Counter(
        operator_of(operation)
        for operation in operations(program.module)
        if operation.name not in (GRAPH, "coreai.output")
    )
    return Description(
        inputs=inputs,
        outputs=outputs,
        lengths=None if inputs[0].shape[-1] == "length" else (_fixed_length(inputs[0], path),),
        minimum_runtime=_minimum_runtime(program, path),
        weights=_weights(program),
        operators=dict(sorted(operators.items())),
    )


def _signature(
    program: Program, path: Path
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    for graph in operations(program.module):
        if graph.name == GRAPH and text(graph.attributes["sym_name"]) == _ENTRY:
            kind = ir().FunctionType(ir().TypeAttr(graph.attributes["function_type"]).value)
            inputs = _tensors(kind.inputs, graph.attributes["arg_attrs"])
            outputs = _tensors(kind.results, graph.attributes["res_attrs"])
            if not inputs or not outputs:
                raise UserError(f"{path}: the graph {_ENTRY} has no inputs or no outputs")
            return inputs, outputs
    raise UserError(f"{path} has no graph called {_ENTRY}")


def _tensors(types: list[Any], attributes: Any) -> tuple[TensorSpec, ...]:
    found = []
    for kind, named in zip(types, ir().ArrayAttr(attributes), strict=True):
        tensor = ir().RankedTensorType(kind)
        shape = tuple(
            _FREE_AXES[axis] if tensor.is_dynamic_dim(axis) else tensor.get_dim_size(axis)
            for axis in range(tensor.rank)
        )
        element = str(tensor.element_type)
        name = text(ir().DictAttr(named)["coreai.name"])
        found.append(TensorSpec(name, _DTYPES.get(element, element), shape))
    return tuple(found)


def _fixed_length(tensor: TensorSpec, path: Path) -> int:
    length = tensor.shape[-1]
    if not isinstance(length, int):
        raise UserError(f"{path}: {tensor.name} has the shape {tensor.shape}")
    return length


def _minimum_runtime(program: Program, path: Path) -> dict[str, str]:
    """The package that wrote the asset, and the operating systems that the asset asks for."""
    name, _, version = str(program.metadata.get("producer", "")).partition(" ")
    if not version:
        raise UserError(f"{path} does not say what made it")
    found = {name: version}
    system = _system(path)
    return found | ({"iOS": system, "macOS": system} if system else {})


def _system(path: Path) -> str | None:
    from coreai.authoring import AIModelAsset

    summary = AIModelAsset.load(path).summary(include_statistics=False)
    version = getattr(summary, "_compatibility_version", None)
    return str(version) if version else None


def _weights(program: Program) -> tuple[WeightInfo, ...]:
    found: dict[str, WeightInfo] = {}
    for place, constant in enumerate(constants(program.module)):
        info = WeightInfo(
            name=constant.name or f"constant at {place}",
            shape=constant.shape,
            precision=constant.dtype,
            role=_role(constant),
            scales=0,
            bits=float(constant.bits) if constant.bits else None,
        )
        if info.elements >= _MIN_ELEMENTS:
            found.setdefault(info.name, info)
    return tuple(found.values())


def _role(constant: Constant) -> str:
    operators = {operator for operator, _ in constant.uses}
    if operators & _MATMULS:
        return "linear"
    # Operand 0 of a look-up is its table; 1 holds the indices.
    if any(operator in _GATHERS and operand == 0 for operator, operand in constant.uses):
        return "embedding"
    return "other"
