"""Shows every tensor of a Core ML package; looking moves nothing in the reference executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.coreml_reference.executor import Executor
from runtime.coreml_reference.kernels import CONSTANT_OPERATIONS
from runtime.coreml_reference.program import Array, Operation, Package, TensorType
from runtime.sessions.base import Ids
from runtime.sessions.taps import Tap, Tapped

_MOVES = {"reshape", "transpose", "squeeze", "expand_dims", "identity"}


def tap_package(package: Package, executor: Executor, feed: Mapping[str, Ids]) -> Tapped:
    """One run of a package.

    Args:
        package: what `executor` was made of.
        executor: in the mode that the caller judges.
        feed: input_ids and attention_mask, int32 [1, length].
    """
    stored = _stored(package)
    values: dict[str, tuple[Operation, dict[str, Array]]] = {}

    def keep(operation: Operation, name: str, value: Array) -> None:
        values.setdefault(operation.outputs[0].name, (operation, {}))[1][name] = value.astype(
            np.float32 if value.dtype.kind == "f" else value.dtype
        )

    outputs: dict[str, Any] = executor.run(feed, keep)
    taps = []
    for operation, results in values.values():
        arguments = [a for found in operation.inputs.values() for a in found]
        names = [a for a in arguments if isinstance(a, str)]
        taps.append(
            Tap(
                name=operation.name,
                kind=operation.kind,
                inputs=tuple(n for n in names if n not in stored),
                parameters={n: stored[n] for n in names if n in stored},
                outputs=results,
                moves=operation.kind in _MOVES,
            )
        )
    name = "logits" if "logits" in outputs else "embedding"
    return Tapped(np.asarray(outputs[name], dtype=np.float32), name, tuple(taps))


def _stored(package: Package) -> dict[str, int]:
    """Constant → its elements."""
    sizes = {}
    for operation in package.function.operations:
        if operation.kind not in CONSTANT_OPERATIONS:
            continue
        for output in operation.outputs:
            shape = output.type.shape if isinstance(output.type, TensorType) else ()
            sizes[output.name] = int(np.prod([n or 1 for n in shape], dtype=np.int64))
    return sizes
