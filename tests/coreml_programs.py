"""Single kernels and hand-made programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.kernels.registry import KERNELS, Context
from runtime.coreml_reference.numerics import Mode, Numerics
from runtime.coreml_reference.padding.short_runs import ShortRuns
from runtime.coreml_reference.program import (
    Feature,
    Function,
    Metadata,
    NamedType,
    Operation,
    Package,
    TensorType,
    Value,
)

OPSETS = {15: "CoreML5", 16: "CoreML6", 17: "CoreML7", 18: "CoreML8"}
TYPES = {"float16": "fp16", "float32": "fp32", "float64": "fp64", "bool": "bool"}


def call(kind: str, mode: Mode = "f64", ios: int = 17, **arguments: Any) -> Any:
    """Run one kernel. Its arrays are read-only, so a kernel that writes into them fails."""
    for value in arguments.values():
        for array in value if isinstance(value, tuple) else (value,):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
    with np.errstate(all="ignore"):
        return KERNELS[kind].run(Context(Numerics(mode), ios), **arguments)


def constant(data: Any, dtype: str = "") -> Value:
    """A constant value: an array, a text or a tuple."""
    if isinstance(data, str):
        kind = TensorType("string", ())
    elif isinstance(data, tuple):
        kind = TensorType("string", (len(data),))
    else:
        data = np.asarray(data)
        name = dtype or TYPES.get(str(data.dtype), str(data.dtype))
        kind = TensorType(name, data.shape)
    return Value(kind, lambda: data, None, 0)


def operation(
    kind: str, name: str, outputs: Sequence[tuple[str, tuple[int | None, ...]]], **inputs: Any
) -> Operation:
    """An operation whose outputs are `name`, `name_1` …; inputs are names, values or tuples."""
    named = tuple(
        NamedType(f"{name}_{k}" if k else name, TensorType(dtype, shape))
        for k, (dtype, shape) in enumerate(outputs)
    )
    arguments = {k: v if isinstance(v, tuple) else (v,) for k, v in inputs.items()}
    return Operation(kind, name, arguments, named, {})


def program(
    inputs: Mapping[str, TensorType],
    operations: Sequence[Operation],
    outputs: Sequence[str],
    ios: int = 17,
    features: Sequence[Feature] = (),
) -> Package:
    """A package around hand-made operations."""
    named = tuple(NamedType(name, kind) for name, kind in inputs.items())
    function = Function("main", OPSETS[ios], named, tuple(operations), tuple(outputs))
    return Package(
        path=Path("hand-made.mlpackage"),
        specification_version=8,
        function=function,
        inputs=tuple(features),
        outputs=(),
        predicted_feature_name="",
        predicted_probabilities_name="",
        metadata=Metadata(),
    )


def short_runs(package: Package, mode: Mode = "f16") -> tuple[Executor, ShortRuns]:
    """A package's executor, and the same without padding from the first run on."""
    executor = Executor(package, ExecutorSettings(mode))
    return executor, ShortRuns(executor, patience=0)
