"""Reads a function of a program and proves what the executor relies on.

Operations come in the order they are run; every argument names an input or an earlier output (which
excludes cycles), no name is given twice, every kind is known, nothing keeps a state or has nested
blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.coreml_reference.declared_types import FullType, public_type
from runtime.coreml_reference.kernels import KNOWN_OPERATIONS
from runtime.coreml_reference.program import (
    CoreMLError,
    Function,
    NamedType,
    Operation,
    TensorType,
    Value,
)
from runtime.coreml_reference.values import ReadValue, ValueReader
from runtime.coreml_reference.wire import Message, damaged, shown

# Operation set → the specification version that brought it.
OPSETS: Mapping[str, int] = {"CoreML5": 6, "CoreML6": 7, "CoreML7": 8, "CoreML8": 9, "CoreML9": 10}
# Core ML's limit for the tensors that a program computes.
_MOST_AXES = 5
# The parameter of concat, stack and einsum; no other takes several arguments.
_VARIADIC = "values"
_STATEFUL = ("read_state", "write_state", "coreml_update_state")
_NESTED = ("cond", "while_loop", "map", "scan")


@dataclass(frozen=True, slots=True)
class ReadFunction:
    """A function and the full type of every value in it by name."""

    function: Function
    types: Mapping[str, FullType]


def choose_function(program: Message, default: str) -> tuple[str, Message]:
    """The function that an app runs: the default one, else ``main``, else the only one.

    Args:
        program: the Program message.
        default: the description's default function, may be empty.

    Raises:
        CoreMLError: there is none, or it cannot be told which.
    """
    functions = {name: entry.need("value") for name, entry in program.entries("functions")}
    if default:
        name = default
    elif len(functions) == 1:
        name = next(iter(functions))
    else:
        name = "main"
    if name not in functions:
        raise CoreMLError(
            f"the program has no function {shown(name)}",
            why="it has " + (", ".join(shown(key) for key in sorted(functions)[:8]) or "none"),
            todo="export the model again",
        )
    for other, message in functions.items():
        if other != name:
            message.check()
    return name, functions[name]


def read_function(name: str, message: Message, values: ValueReader) -> ReadFunction:
    """Read a Function message.

    Raises:
        CoreMLError: anything is malformed, unknown or contradictory.
    """
    opset = message.text("opset")
    if opset not in OPSETS:
        raise CoreMLError(
            f"function {shown(name)} uses the operation set {shown(opset)}",
            why=f"known are {', '.join(OPSETS)}",
            todo="export for a deployment target from iOS 15 to iOS 26",
        )
    _refuse_attributes(message, f"function {shown(name)}")
    block: Message | None = None
    for key, entry in message.entries("block_specializations"):
        specialization = entry.need("value")
        if key == opset:
            block = specialization
        else:
            specialization.check()
    if block is None:
        raise damaged(f"function {shown(name)} has no block for its operation set {opset}")
    return _Builder(values).function(name, opset, message, block)


class _Builder:
    def __init__(self, values: ValueReader) -> None:
        self._values = values
        self._types: dict[str, FullType] = {}

    def function(self, name: str, opset: str, message: Message, block: Message) -> ReadFunction:
        inputs = tuple(self._define(value, "an input") for value in message.children("inputs"))
        for value in inputs:
            if not isinstance(value.type, TensorType):
                raise CoreMLError(f"the input {shown(value.name)} is a {value.type.kind}")
            _check_axes(value, "the input")
        if block.count("inputs"):
            raise CoreMLError(f"the block of function {shown(name)} has inputs of its own")
        _refuse_attributes(block, f"the block of function {shown(name)}")
        operations = tuple(self._operation(each) for each in block.children("operations"))
        outputs = tuple(block.texts("outputs"))
        for output in outputs:
            if output not in self._types:
                raise CoreMLError(f"the output {shown(output)} is made by no operation")
        if not outputs or len(set(outputs)) != len(outputs):
            raise CoreMLError(f"function {shown(name)} has no output or names one twice")
        function = Function(name, opset, inputs, operations, outputs)
        return ReadFunction(function, self._types)

    def _define(self, message: Message, what: str) -> NamedType:
        """A new name and its type."""
        name = message.text("name")
        if not name:
            raise damaged(f"{what} has no name")
        if name in self._types:
            raise CoreMLError(
                f"the name {shown(name)} is given twice",
                why="a value of a program is made once",
                todo="export the model again",
            )
        full = self._values.types.read(message.need("type"), f"{what} {shown(name)}")
        self._types[name] = full
        return NamedType(name, public_type(full))

    def _operation(self, message: Message) -> Operation:
        kind = sys.intern(message.text("type"))
        _check_kind(kind, message)
        results = list(message.children("outputs"))
        if not results:
            raise damaged(f"an operation {kind} has no outputs")
        where = f"{kind} {shown(results[0].text('name'))}"
        # Arguments first: an operation must not use its own outputs.
        inputs = {
            sys.intern(key): self._arguments(entry.need("value"), key, f"{where}, {shown(key)},")
            for key, entry in message.entries("inputs")
        }
        outputs = tuple(self._define(result, f"an output of {kind}") for result in results)
        attributes: dict[str, ReadValue] = {}
        name = outputs[0].name
        for key, entry in message.entries("attributes"):
            value = entry.need("value")
            if key == "name":
                name = self._values.text(value, f"the name of {where}")
            else:
                attributes[key] = self._values.read(value, f"{where}, attribute {shown(key)},")
        if kind == "const":
            self._check_const(inputs, outputs, attributes, where)
        elif not kind.startswith("constexpr_"):
            for output in outputs:
                _check_axes(output, f"the output of {kind}")
        plain = {key: read.value for key, read in attributes.items()}
        return Operation(kind, name, inputs, outputs, plain)

    def _arguments(self, message: Message, parameter: str, where: str) -> tuple[str | Value, ...]:
        count = message.count("arguments")
        if count == 0 or (count > 1 and parameter != _VARIADIC):
            raise CoreMLError(f"{where} has {count} arguments")
        return tuple(self._argument(each, where) for each in message.children("arguments"))

    def _argument(self, message: Message, where: str) -> str | Value:
        kind = message.which("binding")
        if kind == "value":
            return self._values.read(message.need(kind), where).value
        # Names repeat thousands of times; one object is held for each.
        name = sys.intern(message.text("name"))
        if kind != "name" or name not in self._types:
            raise CoreMLError(
                f"{where} refers to {shown(name)}, which is made by no earlier operation",
                why="operations must come after what they use, so a cycle is an error too",
                todo="export the model again",
            )
        return name

    def _check_const(
        self,
        inputs: Mapping[str, object],
        outputs: tuple[NamedType, ...],
        attributes: Mapping[str, ReadValue],
        where: str,
    ) -> None:
        if inputs or len(outputs) != 1 or set(attributes) != {"val"}:
            raise damaged(f"{where} must have one output, the attribute val and nothing else")
        if attributes["val"].full_type != self._types[outputs[0].name]:
            raise CoreMLError(
                f"{where} declares another type than its value has", todo="export the model again"
            )


def _check_kind(kind: str, message: Message) -> None:
    """Refuse by name what the executor does not run."""
    why = ""
    if kind in _STATEFUL:
        why = "programs that keep a state between calls are not known to this executor"
    elif kind in _NESTED or (kind in KNOWN_OPERATIONS and message.count("blocks")):
        why = "operations with nested blocks are not known to this executor"
    elif kind not in KNOWN_OPERATIONS:
        why = "this executor does not know it"
    if why:
        first = next((value.text("name") for value in message.children("outputs")), "")
        raise CoreMLError(
            f"the operation {shown(kind)} ({shown(first)}) cannot be run",
            why=why,
            todo="export the model without it",
        )


def _check_axes(value: NamedType, what: str) -> None:
    if isinstance(value.type, TensorType) and len(value.type.shape) > _MOST_AXES:
        raise CoreMLError(
            f"{what} {shown(value.name)} has {len(value.type.shape)} axes",
            why=f"Core ML computes tensors of at most {_MOST_AXES}",
        )


def _refuse_attributes(message: Message, what: str) -> None:
    for key, _ in message.entries("attributes"):
        raise CoreMLError(
            f"{what} has the unknown attribute {shown(key)}",
            why="an attribute that is not known may change what the program means",
        )
