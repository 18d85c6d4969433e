"""JSON → dataclasses, refusing whatever they do not declare."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

from runtime.errors import BundleError

T = TypeVar("T")


def read_dataclass(kind: type[T], value: object, where: str) -> T:
    """Build a dataclass from JSON by its type hints.

    Args:
        kind: a dataclass of plain types, Literals, unions, tuples, dicts and further dataclasses.
        value: parsed JSON.
        where: its place, for messages.

    Raises:
        BundleError: a missing, unknown or wrongly typed field.
    """
    if not isinstance(value, dict):
        raise BundleError(f"{where} is not a JSON object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise BundleError(f"{where} has the unknown field {unknown[0]!r}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING:
            raise BundleError(f"{where} lacks the field {name!r}")
    return kind(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 - one per kind of hint
    """Check one JSON value against a type hint and return it as Python's own type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise BundleError(f"{where} is {value!r}", why=f"it must be one of {list(arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise BundleError(f"{where} is not a list")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise BundleError(f"{where} is not a JSON object")
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return (
                    None if option is type(None) is type(value) else _convert(option, value, where)
                )
            except BundleError:
                continue
        raise BundleError(f"{where} has the wrong type")
    if dataclasses.is_dataclass(hint):
        return read_dataclass(typing.cast("type[Any]", hint), value, where)
    # bool is an int to Python, not to us; a whole number is a fine float.
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise BundleError(f"{where} has the wrong type", why=f"expected {hint.__name__}")
    return value
