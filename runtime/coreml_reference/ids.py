"""Token ids are checked where they enter, against the tables that they will index.

From iOS 17 on a converted program casts ids to int16 and adds the table's length to negative ones,
so that a device silently takes another token for an id outside the vocabulary. This module finds
the inputs that reach a gather unchanged or through such steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.coreml_reference.program import Array, CoreMLError, Function, Operation, TensorType

# They hand on the values of `x` as they are.
_SAME = frozenset({"cast", "identity", "reshape", "expand_dims", "squeeze", "transpose"})
_GATHERS = frozenset({"gather", "gather_along_axis"})


@dataclass(frozen=True, slots=True)
class IdLimit:
    """An input whose values must be in [0, length).

    Attributes:
        length: of the gather's table.
    """

    input: str
    length: int
    operation: Operation

    def check(self, values: Array) -> None:
        """Refuse ids outside the table.

        Raises:
            CoreMLError: names the operation, the input and the id.
        """
        if not values.size:
            return
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= self.length:
            outside = lowest if lowest < 0 else highest
            raise CoreMLError(
                f"{self.operation.kind} {self.operation.name}: the id {outside} in {self.input} is"
                f" outside a table of {self.length} entries",
                why="a device would take another entry without a word",
                todo="check that tokenizer and model belong together",
            )


def find_id_limits(function: Function) -> tuple[IdLimit, ...]:
    """The limits of a function's integer inputs, one for each gather that they reach."""
    origins: dict[str, str] = {}
    lengths: dict[str, tuple[int | None, ...]] = {}
    for named in function.inputs:
        if isinstance(named.type, TensorType) and named.type.dtype.startswith(("int", "uint")):
            origins[named.name] = named.name
    shifted: dict[str, str] = {}
    limits: list[IdLimit] = []
    for operation in function.operations:
        for output in operation.outputs:
            if isinstance(output.type, TensorType):
                lengths[output.name] = output.type.shape
        origin = _origin(operation, origins, shifted)
        if origin is not None:
            target = shifted if operation.kind in ("add", "sub") else origins
            target[operation.outputs[0].name] = origin
        if operation.kind in _GATHERS:
            limit = _limit(operation, origins, lengths, function)
            limits += [limit] if limit else []
    return tuple(limits)


def _argument(operation: Operation, parameter: str) -> str:
    arguments = operation.inputs.get(parameter, ())
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], str) else ""


def _origin(
    operation: Operation, origins: Mapping[str, str], shifted: Mapping[str, str]
) -> str | None:
    """The input whose values, perhaps shifted by a constant, the operation hands on."""
    if operation.kind in _SAME:
        return origins.get(_argument(operation, "x"))
    if operation.kind in ("add", "sub"):
        return origins.get(_argument(operation, "x")) or origins.get(_argument(operation, "y"))
    if operation.kind == "select":
        # The wrapping of negative ids: select(id >= 0, id, id + length).
        first = origins.get(_argument(operation, "a"))
        return first if first and first == shifted.get(_argument(operation, "b")) else None
    return None


def _limit(
    operation: Operation,
    origins: Mapping[str, str],
    lengths: Mapping[str, tuple[int | None, ...]],
    function: Function,
) -> IdLimit | None:
    origin = origins.get(_argument(operation, "indices"))
    shape = lengths.get(_argument(operation, "x"), ())
    axis = _axis(operation, function)
    if origin is None or axis is None or not -len(shape) <= axis < len(shape):
        return None
    length = shape[axis]
    return IdLimit(origin, length, operation) if length is not None else None


def _axis(operation: Operation, function: Function) -> int | None:
    arguments = operation.inputs.get("axis", ())
    if not arguments:
        return 0
    value = arguments[0]
    if isinstance(value, str):
        for other in function.operations:
            if other.kind == "const" and other.outputs[0].name == value:
                value = other.attributes["val"]
                break
    return None if isinstance(value, str) else int(value.load())
