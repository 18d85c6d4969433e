"""Core ML's messages as protobuf classes, made from the reader's own table of fields.

coremltools has the same classes, but takes seconds to import and is no part of a light environment.
What the table does not know, protobuf keeps and writes back.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from runtime.coreml_reference.schema import SCHEMAS, Field
from runtime.errors import MissingExtraError

_PACKAGE = "mobile_export.coreml"
_TYPES = {"double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9}
_TYPES |= {"bytes": 12, "enum": 5}  # an enum's numbers are those of an int32
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3


def missing() -> MissingExtraError | None:
    """What is not installed, as an error to raise or to show."""
    if find_spec("google") is not None and find_spec("google.protobuf") is not None:
        return None
    return MissingExtraError(
        "protobuf", extra="selftest", purpose="planting faults in Core ML packages"
    )


@cache
def message_class(name: str) -> Any:
    """The class of a message of `runtime.coreml_reference.schema`; a map is a list of entries.

    Raises:
        MissingExtraError: protobuf is not installed.
    """
    if (error := missing()) is not None:
        raise error
    factory: Any = import_module("google.protobuf.message_factory")
    descriptor = _pool().FindMessageTypeByName(f"{_PACKAGE}.{_safe(name)}")
    return factory.GetMessageClass(descriptor)


@cache
def _pool() -> Any:
    descriptors: Any = import_module("google.protobuf.descriptor_pb2")
    pools: Any = import_module("google.protobuf.descriptor_pool")
    file = descriptors.FileDescriptorProto(
        name="mobile_export_coreml.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, schema in SCHEMAS.items():
        message = file.message_type.add(name=_safe(name))
        groups: dict[str, int] = {}
        for field in schema.fields.values():
            if field.kind == "opaque":
                continue
            added = message.field.add(
                name=field.name,
                number=field.number,
                label=_REPEATED if field.repeated else _OPTIONAL,
                type=_MESSAGE if field.message else _TYPES[field.kind],
            )
            _complete(added, field)
            if field.oneof:
                if field.oneof not in groups:
                    groups[field.oneof] = len(groups)
                    message.oneof_decl.add(name=f"which_{field.oneof}")
                added.oneof_index = groups[field.oneof]
    pool = pools.DescriptorPool()
    pool.Add(file)
    return pool


def _complete(added: Any, field: Field) -> None:
    if field.message:
        added.type_name = f".{_PACKAGE}.{_safe(field.message)}"
    if field.packed:
        added.options.packed = True


def _safe(name: str) -> str:
    return name.replace(":", "_")
