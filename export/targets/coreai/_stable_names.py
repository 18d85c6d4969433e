"""Gives a converted program names that say what they name and are the same in every run.

The converter ends private graphs' names in eight random letters, and names stored constants by a
hash that depends on addresses. Constants are named here after the parameters they hold, found by
their values alone and not by where the graph uses them: a converter that wires a weight to the
wrong layer is then seen by who compares the graph with PyTorch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.targets.coreai._program import (
    GRAPH,
    SHARED,
    Constant,
    constants,
    ir,
    operations,
    text,
)
from runtime.errors import UserError

_INVOKE = "coreai.invoke"
_Parameters = Mapping[str, npt.NDArray[np.float32]]


def make_names_stable(module: Any, parameters: _Parameters) -> None:
    """Rename graphs and stored constants in place.

    Args:
        module: MLIR's module, as the converter leaves it.
        parameters: name → values, in the order of the model.

    Raises:
        UserError: a parameter is in no constant: the converter changed its values.
    """
    with module.context:
        _rename_graphs(module)
        _rename_constants(module, parameters)


def _rename_graphs(module: Any) -> None:
    new: dict[str, str] = {}
    for graph in operations(module):
        if graph.name == GRAPH and "priv" in graph.attributes:
            old = text(graph.attributes["sym_name"])
            new[old] = f"{old.rpartition('_')[0]}_{len(new)}"
            graph.attributes["sym_name"] = ir().StringAttr.get(new[old])
    for operation in operations(module):
        if operation.name == _INVOKE:
            # #param.constant<@layer_norm_abcdefgh> : !param.symbol
            callee = str(operation.attributes["callee"])
            renamed = re.sub(r"@(\w+)", lambda m: f"@{new.get(m[1], m[1])}", callee)
            operation.attributes["callee"] = ir().Attribute.parse(renamed)


def _rename_constants(module: Any, parameters: _Parameters) -> None:
    holders: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    for name, array in parameters.items():
        holders.setdefault(_key(array), []).append(name)
    attributes: dict[str, Any] = {}
    unnamed = 0
    for constant in list(constants(module)):
        names = _names(constant, holders)
        if not names and constant.name is None:
            continue
        if names:
            label = SHARED.join(names)
        else:
            label, unnamed = f"constant_{unnamed}", unnamed + 1
        if label not in attributes:  # MLIR would make a second one of the name unique
            attributes[label] = ir().DenseResourceElementsAttr.get_from_buffer(
                constant.values(), label, constant.operation.results[0].type
            )
        constant.operation.attributes["value"] = attributes[label]
    stored = {name for label in attributes for name in label.split(SHARED)}
    if lost := [name for name in parameters if name not in stored]:
        raise UserError(
            "Core AI's converter changed the weights",
            why=f"the values of {lost[0]} are in no constant",
        )


def _names(
    constant: Constant, holders: dict[tuple[tuple[int, ...], bytes], list[str]]
) -> list[str]:
    return holders.get(_key(constant.values()), []) if constant.dtype == "float32" else []


def _key(array: npt.NDArray[Any]) -> tuple[tuple[int, ...], bytes]:
    """Shape and bits: -0.0 is not 0.0 here."""
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
