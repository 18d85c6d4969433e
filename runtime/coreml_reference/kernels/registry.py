"""The table of kernels, and how a kernel's signature says what an operation takes.

A kernel is a function whose first parameter is the `Context` and whose others carry MIL's parameter
names. The annotation says how an argument is handed over:

==================  =============================================================================
``Array``           a tensor; floats in the mode's type
``Stored``          a tensor; a constant comes in the type it is stored in (embedding tables)
``Arrays``          one or more tensors (``values`` of concat)
``Ints``            a tuple of int, from a constant or a computed vector of integers or booleans
``int`` … ``str``   a constant scalar
==================  =============================================================================

``… | None`` or a default makes the parameter optional; defaults are those of Apple's MIL op
specification (coremltools.converters.mil.mil.ops.defs). A parameter that a kernel does not name is
refused by name when the plan is made.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from runtime.coreml_reference.numerics import Numerics
from runtime.coreml_reference.program import Array, CoreMLError

Stored = Array
Arrays = tuple[Array, ...]
Ints = tuple[int, ...]
Result = Array | tuple[Array, ...]

# Elements of the largest tensor that is allocated: 1 GiB of float32. The largest that a text
# classifier needs is its embedding table, about 2^25.
LARGEST_RESULT = 1 << 28

SORTS = frozenset({"Array", "Stored", "Arrays", "Ints", "int", "float", "bool", "str"})


@dataclass(frozen=True, slots=True)
class Context:
    """What a kernel needs to know besides its arguments.

    Attributes:
        numerics: the mode.
        ios: the operation set's version: 15, 16, 17, 18 or later.
    """

    numerics: Numerics
    ios: int

    def allow(self, shape: Ints) -> None:
        """Refuse a tensor that is too large, before it is allocated."""
        allow(shape)


def allow(shape: Ints) -> None:
    """Refuse a tensor that is too large, before it is allocated.

    Raises:
        CoreMLError: more than `LARGEST_RESULT` elements, or a negative length.
    """
    if math.prod(shape) > LARGEST_RESULT or any(length < 0 for length in shape):
        raise CoreMLError(
            f"a tensor of shape {tuple(shape)} is refused",
            why=f"a length is negative or there are more than {LARGEST_RESULT} elements",
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        sort: one of `SORTS`.
        required: whether an operation without it is refused.
    """

    name: str
    sort: str
    required: bool


@dataclass(frozen=True, slots=True)
class Kernel:
    """How one kind of operation is computed.

    Attributes:
        moves: it only moves values, so the result needs neither rounding nor a look for infinity.
    """

    kind: str
    run: Callable[..., Result]
    parameters: Mapping[str, Parameter]
    moves: bool


KERNELS: dict[str, Kernel] = {}


F = TypeVar("F", bound=Callable[..., Any])


def kernel(*kinds: str, moves: bool = False) -> Callable[[F], F]:
    """Enter a function into the table under one or more kinds.

    Args:
        kinds: MIL's names.
        moves: see `Kernel`.
    """

    def enter(function: F) -> F:
        parameters = _parameters(function)
        for kind in kinds:
            if kind in KERNELS:
                raise ValueError(f"two kernels for {kind}")
            KERNELS[kind] = Kernel(kind, function, parameters, moves)
        return function

    return enter


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        sort = str(parameter.annotation).removesuffix(" | None")
        if sort not in SORTS:
            raise ValueError(f"{function.__name__}: {parameter.name} is annotated {sort}")
        required = parameter.default is inspect.Parameter.empty
        found[parameter.name] = Parameter(parameter.name, sort, required)
    return found


def broadcast(context: Context, *values: Array) -> None:
    """Refuse operands whose broadcast result is too large, or whose types differ.

    Raises:
        CoreMLError: see above.
        ValueError: shapes that do not broadcast.
    """
    first = values[0]
    for value in values[1:]:
        if value.dtype != first.dtype:
            raise CoreMLError(f"operands of types {first.dtype} and {value.dtype} are mixed")
    if any(value.shape != first.shape for value in values[1:]):
        context.allow(np.broadcast_shapes(*(value.shape for value in values)))


def floats(*values: Array) -> None:
    """Refuse operands that are not floating-point numbers.

    Raises:
        CoreMLError: see above.
    """
    for value in values:
        if value.dtype.kind != "f":
            raise CoreMLError(f"an operand is {value.dtype}, this operation takes floats only")


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
        CoreMLError: outside [-rank, rank).
    """
    if not -rank <= axis < rank:
        raise CoreMLError(f"axis {axis} is outside a tensor of {rank} axes")
    return axis % rank


def axes_of(axes: Ints, rank: int) -> Ints:
    """Axes counted from the front.

    Raises:
        CoreMLError: one is outside [-rank, rank), or named twice.
    """
    found = tuple(axis_of(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise CoreMLError(f"axes {axes} name one axis twice")
    return found
