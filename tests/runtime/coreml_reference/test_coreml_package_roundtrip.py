"""Packages made by coremltools: every value and every description equals coremltools' reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_packages import LENGTH, VARIANTS, WEIGHTS, block_of, save_variant, spec_of
from coremltools.libmilstoragepython import _BlobStorageReader as BlobReader
from coremltools.optimize._utils import restore_elements_from_packed_bits
from coremltools.proto import FeatureTypes_pb2, MIL_pb2

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Feature, OtherType, Package, TensorType, Value

SHORT = {"float16": "fp16", "float32": "fp32", "float64": "fp64"}
BLOB_READERS = {"fp16": "fp16", "fp32": "float"}
WIDTHS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant(request.param, tmp_path_factory.mktemp("packages"))


def _dtype(code: int) -> str:
    name = MIL_pb2.DataType.Name(code).lower()
    return SHORT.get(name, name)


def _type(message: Any) -> TensorType | OtherType:
    if message.WhichOneof("type") != "tensorType":
        return OtherType(message.WhichOneof("type").removesuffix("Type"))
    tensor = message.tensorType
    assert tensor.rank == len(tensor.dimensions)
    return TensorType(
        _dtype(tensor.dataType),
        tuple(
            axis.constant.size if axis.WhichOneof("dimension") == "constant" else None
            for axis in tensor.dimensions
        ),
    )


def _data(message: Any, blobs: Any) -> Any:
    """A Value as coremltools' classes and Apple's blob reader give it."""
    kind = message.immediateValue.WhichOneof("value")
    if kind == "list":
        return tuple(_data(each, blobs) for each in message.immediateValue.list.values)
    type_ = _type(message.type)
    assert isinstance(type_, TensorType)
    numpy = {"fp16": "f2", "fp32": "f4", "fp64": "f8", "bool": "?"}
    if type_.dtype in WIDTHS:
        numpy_type = np.dtype(np.int8 if type_.dtype == "int4" else np.uint8)
    elif type_.dtype != "string":
        numpy_type = np.dtype(numpy.get(type_.dtype, type_.dtype))
    if message.WhichOneof("value") == "blobFileValue":
        name = BLOB_READERS.get(type_.dtype, type_.dtype)
        flat = getattr(blobs, f"read_{name}_data")(message.blobFileValue.offset)
        flat = np.asarray(flat)
        if type_.dtype == "fp16":
            flat = flat.view(np.float16)
        return flat.astype(numpy_type).reshape(type_.shape)
    tensor = message.immediateValue.tensor
    field = tensor.WhichOneof("value")
    values = getattr(tensor, field).values
    if type_.dtype == "string":
        return values[0] if type_.shape == () else tuple(values)
    if field != "bytes":
        return np.array(list(values), numpy_type).reshape(type_.shape)
    if type_.dtype in WIDTHS:
        return restore_elements_from_packed_bits(
            np.frombuffer(values, np.uint8),
            WIDTHS[type_.dtype],
            int(np.prod(type_.shape)),
            are_packed_values_signed=type_.dtype == "int4",
        ).reshape(type_.shape)
    return np.frombuffer(values, numpy_type).reshape(type_.shape)


def _same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()
        assert not ours.flags.writeable
    elif isinstance(theirs, tuple):
        assert isinstance(ours, tuple)
        for one, other in zip(ours, theirs, strict=True):
            _same(one, other)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


def _value(ours: Value, theirs: Any, blobs: Any) -> None:
    assert ours.type == _type(theirs.type)
    stored = theirs.WhichOneof("value") == "blobFileValue"
    assert ours.blob == ((WEIGHTS, theirs.blobFileValue.offset) if stored else None)
    _same(ours.load(), _data(theirs, blobs))


def test_program_is_what_coremltools_reads(package: Path) -> None:
    spec, read = spec_of(package), read_package(package)
    function, block = spec.mlProgram.functions["main"], block_of(spec)
    blobs = BlobReader(str(package / WEIGHTS))
    assert read.specification_version == spec.specificationVersion
    assert (read.function.name, read.function.opset) == ("main", function.opset)
    assert [(v.name, v.type) for v in read.function.inputs] == [
        (v.name, _type(v.type)) for v in function.inputs
    ]
    assert read.function.outputs == tuple(block.outputs)
    kinds = set()
    for ours, theirs in zip(read.function.operations, block.operations, strict=True):
        assert ours.kind == theirs.type
        assert ours.name == theirs.attributes["name"].immediateValue.tensor.strings.values[0]
        assert [(v.name, v.type) for v in ours.outputs] == [
            (v.name, _type(v.type)) for v in theirs.outputs
        ]
        assert set(ours.attributes) == set(theirs.attributes) - {"name"}
        assert set(ours.inputs) == set(theirs.inputs)
        for key, value in ours.attributes.items():
            _value(value, theirs.attributes[key], blobs)
            kinds.add(value.blob is not None)
        for key, arguments in ours.inputs.items():
            for one, other in zip(arguments, theirs.inputs[key].arguments, strict=True):
                if isinstance(one, Value):
                    assert other.WhichOneof("binding") == "value"
                    _value(one, other.value, blobs)
                else:
                    assert (other.WhichOneof("binding"), other.name) == ("name", one)
    assert kinds == {False, True}


def test_every_bit_of_the_weight_file_is_accounted_for(package: Path) -> None:
    """Headers, blobs rounded up to whole bytes, and at most 63 bytes before each next one."""
    blobs = {
        value.blob: value.stored_bits
        for value in _values(read_package(package))
        if value.blob is not None
    }
    data = sum(-(-bits // 8) for bits in blobs.values())
    least = 64 + 64 * len(blobs) + data
    assert least <= (package / WEIGHTS).stat().st_size < least + 64 * len(blobs)


def _values(read: Package) -> Iterator[Value]:
    for operation in read.function.operations:
        yield from operation.attributes.values()
        for arguments in operation.inputs.values():
            yield from (each for each in arguments if isinstance(each, Value))


def _feature(message: Any) -> Feature:
    """A feature as coremltools' classes read it."""
    kind = message.type.WhichOneof("Type")
    array = message.type.multiArrayType
    code = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType)
    names = {"FLOAT16": "fp16", "FLOAT32": "fp32", "INT32": "int32"}
    return Feature(
        name=message.name,
        kind=kind.removesuffix("Type"),
        dtype=names[code] if kind == "multiArrayType" else "",
        shape=tuple(array.shape),
        shapes=tuple(tuple(each.shape) for each in array.enumeratedShapes.shapes),
        ranges=tuple(
            (each.lowerBound, None if each.upperBound < 0 else each.upperBound)
            for each in array.shapeRange.sizeRanges
        ),
        description=message.shortDescription,
    )


def test_description_is_what_coremltools_reads(package: Path) -> None:
    theirs, ours = spec_of(package).description, read_package(package)
    assert ours.inputs == tuple(_feature(each) for each in theirs.input)
    assert ours.outputs == tuple(_feature(each) for each in theirs.output)
    assert ours.predicted_feature_name == theirs.predictedFeatureName
    assert ours.predicted_probabilities_name == theirs.predictedProbabilitiesName
    assert ours.metadata.short_description == "Klassifiziert Texte für Tests"
    assert ours.metadata.author == theirs.metadata.author == "Ada"
    assert ours.metadata.license == theirs.metadata.license == "Apache-2.0"
    assert ours.metadata.version == theirs.metadata.versionString == "1.2.3"
    assert ours.metadata.user_defined == dict(theirs.metadata.userDefined)
    assert ours.metadata.user_defined["com.example.hash"] == "c0ffee"


def test_variants_are_what_their_names_say(tmp_path: Path) -> None:
    ranged = read_package(save_variant("ios17-range", tmp_path)).inputs[0]
    assert (ranged.shape, ranged.ranges) == ((1, LENGTH), ((1, 1), (1, 32)))
    enumerated = read_package(save_variant("ios18-enumerated", tmp_path)).inputs[1]
    assert sorted(enumerated.shapes) == [(1, 8), (1, LENGTH)]
    assert enumerated.description == ""
    classifier = read_package(save_variant("classifier", tmp_path))
    classify = classifier.function.operations[-1]
    assert classify.kind == "classify"
    (classes,) = classify.inputs["classes"]
    assert isinstance(classes, Value)
    assert classes.load() == ("good", "bad", "öde")
    assert {feature.kind for feature in classifier.outputs} == {"string", "dictionary"}
    stored = {
        value.type.dtype
        for name in ("ios18-palette6", "ios18-palette3", "ios18-palette2", "ios18-palette1")
        for value in _values(read_package(save_variant(name, tmp_path)))
        if value.blob is not None and isinstance(value.type, TensorType)
    }
    assert stored >= {"uint6", "uint3", "uint2", "uint1"}
