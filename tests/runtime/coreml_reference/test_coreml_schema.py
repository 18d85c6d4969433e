"""The table of messages against coremltools' generated descriptors."""

from __future__ import annotations

from typing import Any

import pytest
from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2
from google.protobuf.descriptor import FieldDescriptor

from runtime.coreml_reference.blob import BLOB_TYPES
from runtime.coreml_reference.declared_types import ELEMENT_TYPES
from runtime.coreml_reference.description import _ARRAY_TYPES
from runtime.coreml_reference.program import NUMPY_TYPES
from runtime.coreml_reference.schema import SCHEMAS

_TYPE_NAMES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def _descriptors() -> dict[str, Any]:
    """Every message that can be reached from Model through fields that the table does not skip."""
    found: dict[str, Any] = {}
    waiting = [Model_pb2.Model.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.name in found:
            continue
        found[descriptor.name] = descriptor
        for field in descriptor.fields:
            ours = SCHEMAS[descriptor.name].fields.get(field.number)
            if field.message_type is None or (ours is not None and ours.kind == "opaque"):
                continue
            target = field.message_type
            if target.GetOptions().map_entry:
                value = target.fields_by_name["value"].message_type
                waiting.extend([value] if value is not None else [])
            else:
                waiting.append(target)
    return found


DESCRIPTORS = _descriptors()


@pytest.mark.parametrize("name", sorted(DESCRIPTORS))
def test_table_is_what_coremltools_has(name: str) -> None:
    theirs = {}
    for field in DESCRIPTORS[name].fields:
        kind, target = _TYPE_NAMES[field.type], field.message_type
        if target is not None and target.GetOptions().map_entry:
            value = target.fields_by_name["value"]
            kind = f"map:{value.message_type.name if value.message_type else 'string'}"
        elif target is not None:
            kind = target.name
        oneof = field.containing_oneof.name if field.containing_oneof else ""
        theirs[field.number] = (field.name, kind, field.is_repeated, oneof)
    ours = {}
    for number, line in SCHEMAS[name].fields.items():
        kind = line.message.replace("Entry:", "map:") or line.kind
        if kind == "opaque":
            kind = theirs[number][1]
        ours[number] = (line.name, kind, line.repeated, line.oneof)
    assert ours == theirs


def test_table_has_no_message_that_coremltools_lacks() -> None:
    names = {name for name in SCHEMAS if not name.startswith("Entry:")}
    assert names == set(DESCRIPTORS)
    assert {name for name in SCHEMAS if name.startswith("Entry:")} == {
        f"Entry:{kind}" for kind in ("string", "Function", "Block", "Argument", "Value")
    }


def test_everything_inside_the_program_is_strict() -> None:
    for name, descriptor in DESCRIPTORS.items():
        assert SCHEMAS[name].strict == (descriptor.file.name == "MIL.proto" or name == "Model")
    assert all(
        schema.strict == (name != "Entry:string")
        for name, schema in SCHEMAS.items()
        if name.startswith("Entry:")
    )


def test_element_types_are_the_enumeration() -> None:
    short = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64"}
    refused = {"UNUSED_TYPE", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E5M2"}
    assert {
        number: short.get(name, name.lower())
        for name, number in MIL_pb2.DataType.items()
        if name not in refused
    } == ELEMENT_TYPES
    assert set(ELEMENT_TYPES.values()) == set(NUMPY_TYPES) | {"string"}
    assert set(BLOB_TYPES.values()) < set(ELEMENT_TYPES.values())


def test_array_types_are_the_enumeration() -> None:
    names = {"FLOAT16": "fp16", "FLOAT32": "fp32", "DOUBLE": "fp64"}
    assert {
        number: names.get(name, name.lower())
        for name, number in FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.items()
        if number
    } == _ARRAY_TYPES
