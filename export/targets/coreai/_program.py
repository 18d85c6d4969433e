"""Reads a Core AI program: MLIR, through the bindings that ``coreai-core`` has for it.

The bindings are not part of the package's stable interface, and this beta has no other way to the
weights; so everything that touches them is in this file and in `_stable_names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.sessions.coreai_file import check_asset

CONSTANT = "coreai.constant"
GRAPH = "coreai.graph"
# Between the names of parameters that share one constant; no parameter's name has it.
SHARED = ","

# MLIR's element types, as this target's programs use them.
_DTYPES: dict[str, npt.DTypeLike] = {
    "f64": np.float64,
    "f32": np.float32,
    "f16": np.float16,
    "si64": np.int64,
    "ui64": np.uint64,
    "si32": np.int32,
    "ui32": np.uint32,
    "si8": np.int8,
    "ui8": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a program.

    Attributes:
        operation: MLIR's.
        name: of the stored bytes; None where they are written out in the program's text.
        shape: empty for a scalar.
        element: MLIR's element type, such as ``f32``.
        uses: (operator, which of its operands) of everything that reads the constant, directly or
            through a change of its layout.
    """

    operation: Any
    name: str | None
    shape: tuple[int, ...]
    element: str
    uses: frozenset[tuple[str, int]]

    @property
    def dtype(self) -> str:
        """Numpy's name of the element type, or MLIR's where numpy has none."""
        known = _DTYPES.get(self.element)
        return np.dtype(known).name if known is not None else self.element

    @property
    def bits(self) -> int | None:
        """Of one element; None for an element type that is not a number."""
        found = re.fullmatch(r"[a-z]+(\d+)", self.element)
        return int(found[1]) if found else None

    def values(self) -> npt.NDArray[Any]:
        """A copy of the stored values.

        Raises:
            UserError: numpy has no such element type.
        """
        if self.element not in _DTYPES:
            raise UserError(f"the constant {self.name} has the element type {self.element}")
        from coreai._compiler._mlir_libs._coreaiIR._bindings.compiler import (
            copy_constant_value_to_array,
        )

        out = np.empty(self.shape, dtype=_DTYPES[self.element])
        copy_constant_value_to_array(
            constant_op=self.operation, destination=out.reshape(-1).view(np.uint8)
        )
        return out


@dataclass(frozen=True, slots=True)
class Program:
    """A program read from an asset; MLIR's objects live as long as `owner`."""

    owner: Any
    module: Any
    metadata: dict[str, Any]


def ir() -> Any:
    """MLIR's own Python interface."""
    import coreai._compiler.ir

    return coreai._compiler.ir


def read_program(path: Path) -> Program:
    """Open an asset's program.

    Raises:
        UserError: the folder is not a Core AI asset, is damaged, or the package refuses it.
    """
    metadata = check_asset(path)
    from coreai.authoring import AIModelAsset

    try:
        owner = AIModelAsset.load(path).program
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"coreai-core cannot read {path}", why=reason) from error
    return Program(owner, module_of(owner), metadata)


def module_of(program: Any) -> Any:
    """MLIR's module behind a `coreai.authoring.AIProgram`."""
    return program._module._mlir_module


def operations(module: Any) -> Iterator[Any]:
    """Every operation, graphs included, in the order in which the program is written."""
    pending = [module.operation]
    while pending:
        operation = pending.pop()
        inner = [
            child.operation
            for region in operation.regions
            for block in region.blocks
            for child in block.operations
        ]
        if operation is not module.operation and operation.name != "builtin.module":
            yield operation
        pending.extend(reversed(inner))


def constants(module: Any) -> Iterator[Constant]:
    """Every constant, in the order in which the program is written."""
    for operation in operations(module):
        if operation.name == CONSTANT:
            kind = ir().RankedTensorType(operation.results[0].type)
            yield Constant(
                operation=operation,
                name=_name(operation.attributes["value"]),
                shape=tuple(kind.shape),
                element=str(kind.element_type),
                uses=frozenset(_uses(operation.results[0])),
            )


def text(attribute: Any) -> str:
    """A string attribute's value."""
    return str(ir().StringAttr(attribute).value)


def _name(value: Any) -> str | None:
    if not ir().DenseResourceElementsAttr.isinstance(value):
        return None
    found = re.match(r'dense_resource<"?(.*?)"?> : ', str(value))
    return found[1] if found else None


# Operators that pass a weight on in another layout.
_LAYOUT = ("transpose", "reshape", "broadcast_to", "broadcast_in_dims", "expand_dims", "slice")


def _uses(value: Any) -> Iterator[tuple[str, int]]:
    for use in value.uses:
        operator = operator_of(use.owner.operation)
        if operator in _LAYOUT and use.operand_number == 0:
            yield from _uses(use.owner.operation.results[0])
        else:
            yield operator, use.operand_number


def operator_of(operation: Any) -> str:
    """An operation's name without its dialect: ``gather_nd``, ``broadcasting_batch_matmul``."""
    return str(operation.name).rpartition(".")[2]
