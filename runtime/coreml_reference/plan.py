"""Turns a function into steps in which everything is resolved that does not depend on inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.coreml_reference.binding import Constants, bind
from runtime.coreml_reference.kernels import CONSTANT_OPERATIONS, KERNELS
from runtime.coreml_reference.kernels.registry import Kernel, Parameter, Result, allow
from runtime.coreml_reference.numerics import Numerics
from runtime.coreml_reference.program import (
    Array,
    CoreMLError,
    Function,
    NamedType,
    Operation,
    TensorType,
    Value,
)

# Operation sets by the iOS version that brought them.
OPSETS: Mapping[str, int] = {
    "CoreML5": 15,
    "CoreML6": 16,
    "CoreML7": 17,
    "CoreML8": 18,
    "CoreML9": 26,
}


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter whose value an earlier step or an input gives, at least in part.

    Attributes:
        sort: see `registry`.
        sources: a name, or a constant that is already bound, for each argument.
    """

    parameter: str
    sort: str
    sources: tuple[str | Array, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, ready to run.

    Attributes:
        run: the kernel.
        fixed: parameters that are constant.
        arguments: parameters that are not.
        moves: see `registry.Kernel`.
        unrounded: a quantized value that stays a float, because quantization is switched off.
        frees: names that no later step needs.
    """

    operation: Operation
    run: Callable[..., Result]
    fixed: Mapping[str, Any]
    arguments: tuple[Argument, ...]
    outputs: tuple[NamedType, ...]
    moves: bool
    unrounded: bool
    frees: tuple[str, ...]


def make_plan(
    function: Function, constants: Constants, numerics: Numerics, *, quantize: bool
) -> tuple[Step, ...]:
    """The steps of a function.

    Args:
        function: as read.
        constants: of this function.
        numerics: the mode, into whose type constants are converted.
        quantize: False leaves out `quantize` and the `dequantize` that undoes it.

    Raises:
        CoreMLError: an operation with a parameter that is missing, unknown or of a wrong kind, or
            with a declared result that is too large.
    """
    operations = [o for o in function.operations if o.kind not in CONSTANT_OPERATIONS]
    frees = _frees(operations, constants, function.outputs)
    unrounded: set[str] = set()
    known = {named.name for named in function.inputs}
    steps: list[Step] = []
    for place, operation in enumerate(operations):
        for output in operation.outputs:
            if isinstance(output.type, TensorType):
                allow(tuple(length or 0 for length in output.type.shape))
        chosen = _without_quantization(operation, unrounded) if not quantize else None
        kernel = chosen or KERNELS.get(operation.kind) or _CLASSIFY
        fixed, arguments = _bind(operation, kernel, constants, numerics)
        for name in (s for a in arguments for s in a.sources if isinstance(s, str)):
            if name not in known:
                raise CoreMLError(f"{called(operation)}: the value {name} is not known here")
        known.update(output.name for output in operation.outputs)
        if chosen:
            # Scale, zero point and axis have no part in an identity.
            fixed = {}
        steps.append(
            Step(
                operation=operation,
                run=kernel.run,
                fixed=fixed,
                arguments=arguments,
                outputs=operation.outputs,
                moves=kernel.moves,
                unrounded=any(output.name in unrounded for output in operation.outputs),
                frees=frees[place],
            )
        )
    for name in function.outputs:
        if name not in known and name not in constants:
            raise CoreMLError(f"the output {name} is the result of no operation")
    return tuple(steps)


def called(operation: Operation) -> str:
    """How an error names an operation."""
    return f"{operation.kind} {operation.name}"


def _same(_context: object, **values: Array) -> Array:
    return next(iter(values.values()))


def _classify(_context: object, probabilities: Array, classes: tuple[Any, ...]) -> Any:
    if len(classes) != probabilities.size:
        raise CoreMLError(f"{probabilities.size} probabilities for {len(classes)} classes")
    numbers = probabilities.reshape(-1)
    best = classes[int(numbers.argmax())]
    return best, dict(zip(classes, (float(number) for number in numbers), strict=True))


_CLASSIFY = Kernel(
    kind="classify",
    run=_classify,
    parameters={
        "probabilities": Parameter("probabilities", "Array", True),
        "classes": Parameter("classes", "labels", True),
    },
    moves=True,
)


def _without_quantization(operation: Operation, unrounded: set[str]) -> Kernel | None:
    """The identity in place of `quantize` and of the `dequantize` of its result.

    Adds the names of quantized values that stay floats to `unrounded`.
    """
    taken = {a for arguments in operation.inputs.values() for a in arguments if isinstance(a, str)}
    if operation.kind == "quantize":
        unrounded.add(operation.outputs[0].name)
    elif not taken & unrounded:
        return None
    elif operation.kind != "dequantize":
        if operation.kind not in KERNELS or not KERNELS[operation.kind].moves:
            raise CoreMLError(
                f"{called(operation)} computes with quantized activations",
                why="so the program has no form without quantization",
            )
        unrounded.update(output.name for output in operation.outputs)
        return None
    known = KERNELS[operation.kind]
    return Kernel(operation.kind, _same, known.parameters, True)


def _bind(
    operation: Operation, kernel: Kernel, constants: Constants, numerics: Numerics
) -> tuple[dict[str, Any], tuple[Argument, ...]]:
    if kernel is _CLASSIFY and operation.kind != "classify":
        raise CoreMLError(f"{called(operation)}: this operation is unknown")
    given: dict[str, tuple[str | Value, ...]] = dict(operation.inputs)
    given |= {name: (value,) for name, value in operation.attributes.items()}
    for name in given.keys() - kernel.parameters.keys():
        raise CoreMLError(f"{called(operation)}: the parameter {name} is unknown")
    for parameter in kernel.parameters.values():
        if parameter.required and not given.get(parameter.name):
            raise CoreMLError(f"{called(operation)}: the parameter {parameter.name} is missing")
    fixed: dict[str, Any] = {}
    arguments: list[Argument] = []
    for name, sources in given.items():
        parameter = kernel.parameters[name]
        try:
            bound = [_source(source, parameter, constants, numerics) for source in sources]
        except CoreMLError as error:
            raise CoreMLError(f"{called(operation)}: {error.what}", why=error.why) from error
        if len(bound) != 1 and parameter.sort != "Arrays":
            raise CoreMLError(f"{called(operation)}: {name} has {len(bound)} arguments")
        if any(isinstance(source, _Later) for source in bound):
            if parameter.sort not in ("Array", "Stored", "Arrays", "Ints"):
                raise CoreMLError(f"{called(operation)}: {name} must be constant")
            later = tuple(s.name if isinstance(s, _Later) else s for s in bound)
            arguments.append(Argument(name, parameter.sort, later))
        else:
            fixed[name] = tuple(bound) if parameter.sort == "Arrays" else bound[0]
    return fixed, tuple(arguments)


@dataclass(frozen=True, slots=True)
class _Later:
    """A value that is known only when the program runs."""

    name: str


def _source(
    source: str | Value, parameter: Parameter, constants: Constants, numerics: Numerics
) -> Any:
    if parameter.sort == "labels":
        labels = source.load() if isinstance(source, Value) else constants[source]
        if not isinstance(labels, tuple):
            raise CoreMLError("the classes are no list")
        return tuple(_label(label) for label in labels)
    if isinstance(source, Value):
        return bind(source.load(), parameter, numerics)
    return constants.bound(source, parameter) if source in constants else _Later(source)


def _label(label: Any) -> str | int:
    """A class: a text or a whole number, as Apple's classifiers have them."""
    if isinstance(label, str):
        return label
    number = np.asarray(label)
    if number.ndim or number.dtype.kind not in "iu":
        raise CoreMLError("the classes are neither texts nor whole numbers")
    return int(number)


def _frees(
    operations: Sequence[Operation], constants: Constants, outputs: Sequence[str]
) -> list[tuple[str, ...]]:
    """For each operation the values that are last used by it, or never."""
    last: dict[str, int] = {}
    for place, operation in enumerate(operations):
        last |= {output.name: place for output in operation.outputs}
        for arguments in operation.inputs.values():
            last |= {a: place for a in arguments if isinstance(a, str) and a not in constants}
    frees: list[list[str]] = [[] for _ in operations]
    for name, place in last.items():
        if name not in outputs:
            frees[place].append(name)
    return [tuple(names) for names in frees]
