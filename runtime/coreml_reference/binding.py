"""Constants of a program: evaluated once, kept in the form in which operations take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from runtime.coreml_reference.constants import evaluate
from runtime.coreml_reference.kernels import CONSTANT_OPERATIONS, KERNELS
from runtime.coreml_reference.kernels.registry import Parameter, allow
from runtime.coreml_reference.numerics import FLOAT_TYPES, Numerics
from runtime.coreml_reference.program import (
    NUMPY_TYPES,
    CoreMLError,
    Function,
    NamedType,
    Operation,
    TensorType,
    Value,
)


class Constants(Mapping[str, Any]):
    """Name → constant: floats as dense arrays in the mode's type, the rest as stored.

    Constants that only other constants use are evaluated, used and dropped. Embedding tables that
    only gathers use stay in their stored type and are converted when asked for.
    """

    def __init__(self, function: Function, numerics: Numerics) -> None:
        self._numerics = numerics
        self._values: dict[str, Any] = {}
        uses = _uses(function)
        last = _last_constant_use(function)
        for place, operation in enumerate(function.operations):
            if operation.kind in CONSTANT_OPERATIONS:
                self._enter(operation, uses)
                for name in last.get(place, ()):
                    if name not in uses:
                        self._values.pop(name, None)
        for name in [name for name in self._values if name not in uses]:
            del self._values[name]

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        return self._numerics.load(value) if isinstance(value, np.ndarray) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def bound(self, name: str, parameter: Parameter) -> Any:
        """A constant as a kernel's parameter takes it."""
        return bind(self._values[name], parameter, self._numerics)

    def _enter(self, operation: Operation, uses: Mapping[str, set[str]]) -> None:
        name = operation.outputs[0].name
        if operation.kind == "const":
            value = operation.attributes["val"].load()
            kept = uses.get(name, set()) - {"Stored"}
            loaded = isinstance(value, np.ndarray) and kept
            self._values[name] = _frozen(self._numerics.load(value)) if loaded else value
            return
        parameters: dict[str, Any] = {}
        for parameter, arguments in operation.inputs.items():
            if len(arguments) != 1:
                raise CoreMLError(f"{_called(operation)}: {parameter} has several arguments")
            argument = arguments[0]
            if isinstance(argument, str) and argument not in self._values:
                raise CoreMLError(f"{_called(operation)}: {parameter} is not constant")
            stored = argument.load() if isinstance(argument, Value) else self._values[argument]
            parameters[parameter] = stored
        parameters |= {key: value.load() for key, value in operation.attributes.items()}
        try:
            results = evaluate(operation, parameters, self._numerics)
        except CoreMLError as error:
            raise CoreMLError(
                f"{_called(operation)}: {error.what}", why=error.why, todo=error.todo
            ) from error
        except (ValueError, IndexError, MemoryError, OverflowError) as error:
            raise CoreMLError(
                f"{_called(operation)} cannot be evaluated", why=str(error)
            ) from error
        if len(results) != len(operation.outputs):
            raise CoreMLError(f"{_called(operation)}: {len(operation.outputs)} outputs declared")
        for output, result in zip(operation.outputs, results, strict=True):
            self._values[output.name] = _frozen(self._checked(operation, output, result))

    def _checked(self, operation: Operation, output: NamedType, result: Any) -> Any:
        declared = output.type
        if not isinstance(declared, TensorType):
            raise CoreMLError(f"{_called(operation)}: {output.name} is declared as no tensor")
        allow(tuple(length or 0 for length in declared.shape))
        if result.shape != declared.shape:
            raise CoreMLError(
                f"{_called(operation)}: {output.name} has the shape {result.shape}",
                why=f"{declared.shape} is declared",
            )
        if declared.dtype in FLOAT_TYPES:
            if result.dtype.kind == "f":
                return self._numerics.store(result, declared.dtype)
        elif result.dtype == NUMPY_TYPES.get(declared.dtype):
            return result
        raise CoreMLError(
            f"{_called(operation)}: {output.name} is {result.dtype}",
            why=f"{declared.dtype} is declared",
        )


def bind(value: Any, parameter: Parameter, numerics: Numerics) -> Any:
    """A constant in the form that `registry` describes for a parameter's sort.

    Raises:
        CoreMLError: it is of another kind.
    """
    if parameter.sort == "str":
        if isinstance(value, str):
            return value
        raise CoreMLError(f"the parameter {parameter.name} is no text")
    if not isinstance(value, np.ndarray | np.generic):
        raise CoreMLError(f"the parameter {parameter.name} is no tensor")
    array = np.asarray(value)
    if parameter.sort == "Stored":
        return array
    if parameter.sort in ("Array", "Arrays"):
        return _frozen(numerics.load(array))
    if parameter.sort == "Ints":
        return integers(array, parameter.name)
    kinds, make = {"int": ("iu", int), "bool": ("b", bool), "float": ("f", float)}[parameter.sort]
    if array.ndim or array.dtype.kind not in kinds:
        raise CoreMLError(
            f"the parameter {parameter.name} is {array.dtype} {array.shape}",
            why=f"it must be one {parameter.sort}",
        )
    return make(array)


def integers(value: Any, name: str) -> tuple[int, ...]:
    """A vector of integers or booleans as a tuple."""
    if value.ndim > 1 or value.dtype.kind not in "iub":
        raise CoreMLError(
            f"the parameter {name} is {value.dtype} {value.shape}, no vector of integers"
        )
    return tuple(int(number) for number in value.reshape(-1).tolist())


def _called(operation: Operation) -> str:
    return f"{operation.kind} {operation.name}"


def _frozen(value: Any) -> Any:
    if value.flags.writeable:
        value.flags.writeable = False
    return value


def _names(operation: Operation) -> Iterator[tuple[str, str]]:
    for parameter, arguments in operation.inputs.items():
        for argument in arguments:
            if isinstance(argument, str):
                yield parameter, argument


def _uses(function: Function) -> dict[str, set[str]]:
    """Name → the sorts of parameters in which operations take it; function outputs are arrays."""
    uses: dict[str, set[str]] = {name: {"Array"} for name in function.outputs}
    for operation in function.operations:
        if operation.kind in CONSTANT_OPERATIONS:
            continue
        kernel = KERNELS.get(operation.kind)
        for parameter, name in _names(operation):
            known = kernel.parameters.get(parameter) if kernel else None
            uses.setdefault(name, set()).add(known.sort if known else "other")
    return uses


def _last_constant_use(function: Function) -> dict[int, set[str]]:
    """Place of a constant operation → the names that no later constant operation needs."""
    last: dict[str, int] = {}
    for place, operation in enumerate(function.operations):
        if operation.kind in CONSTANT_OPERATIONS and operation.kind != "const":
            last |= {name: place for _, name in _names(operation)}
    found: dict[int, set[str]] = {}
    for name, place in last.items():
        found.setdefault(place, set()).add(name)
    return found
