"""Reads what a model declares to an app, and compares it with what its program has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.coreml_reference.declared_types import DictionaryOf, FullType
from runtime.coreml_reference.functions import ReadFunction
from runtime.coreml_reference.packing import varint_count, varints
from runtime.coreml_reference.program import CoreMLError, Feature, Metadata, TensorType
from runtime.coreml_reference.wire import Message, damaged, shown

# FeatureTypes.proto's enum ArrayDataType.
_ARRAY_TYPES = {65552: "fp16", 65568: "fp32", 65600: "fp64", 131080: "int8", 131104: "int32"}
_MOST_AXES = 5
_KEYS = {"stringKeyType": "string", "int64KeyType": "int64"}
_CONTRADICTION = "the description and the program contradict each other"
_AGAIN = "export the model again"


@dataclass(frozen=True, slots=True)
class Description:
    """What the model declares, of the function that is run.

    Attributes:
        inputs, outputs: in the order declared.
        keys: dictionary output → ``string`` or ``int64``, the kind of its keys.
        predicted_feature_name, predicted_probabilities_name: of a classifier, else empty.
        default_function: empty where none is named.
    """

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    keys: Mapping[str, str]
    predicted_feature_name: str
    predicted_probabilities_name: str
    metadata: Metadata


def read_metadata(description: Message) -> Metadata:
    """Author, licence …; all empty where the model has none.

    Raises:
        CoreMLError: malformed.
    """
    message = description.child("metadata")
    if message is None:
        return Metadata()
    return Metadata(
        short_description=message.text("shortDescription"),
        version=message.text("versionString"),
        author=message.text("author"),
        license=message.text("license"),
        user_defined={key: entry.text("value") for key, entry in message.entries("userDefined")},
    )


def read_description(description: Message, function: str) -> Description:
    """Read the ModelDescription, or in a model of several functions the part for `function`.

    Raises:
        CoreMLError: malformed, with states, or with features that are not known.
    """
    part = description
    names = []
    for candidate in description.children("functions"):
        names.append(candidate.text("name"))
        if names[-1] == function:
            part = candidate
        else:
            candidate.check()
    if len(set(names)) != len(names) or (names and function not in names):
        raise CoreMLError(
            f"the description does not list the function {shown(function)} once", todo=_AGAIN
        )
    if names and (description.count("input") or description.count("output")):
        raise CoreMLError(
            "the description has features both of the model and of its functions", todo=_AGAIN
        )
    for feature in part.children("state"):
        raise CoreMLError(
            f"the model keeps the state {shown(feature.text('name'))} between calls",
            why="such models are not known to this reader",
            todo="export the model without states",
        )
    keys: dict[str, str] = {}
    inputs = _features(part, "input", keys)
    if keys:
        raise CoreMLError(f"the input {shown(next(iter(keys)))} is a dictionary, which is unknown")
    return Description(
        inputs=inputs,
        outputs=_features(part, "output", keys),
        keys=keys,
        predicted_feature_name=part.text("predictedFeatureName"),
        predicted_probabilities_name=part.text("predictedProbabilitiesName"),
        metadata=read_metadata(description),
    )


def check_agreement(description: Description, read: ReadFunction) -> None:
    """Check that the description declares what the function takes and returns.

    Raises:
        CoreMLError: another name, type or shape, or a classifier that is only half declared.
    """
    types = read.types
    _same_names("input", description.inputs, [value.name for value in read.function.inputs])
    _same_names("output", description.outputs, read.function.outputs)
    for feature in description.inputs:
        if feature.kind != "multiArray" or not feature.shape:
            raise CoreMLError(f"the input {shown(feature.name)} is no array with a shape")
        _check_array(feature, types[feature.name], "input")
    for feature in description.outputs:
        if feature.kind == "multiArray":
            _check_array(feature, types[feature.name], "output")
    _check_classifier(description, read)


def _features(part: Message, field: str, keys: dict[str, str]) -> tuple[Feature, ...]:
    features = tuple(_feature(message, field, keys) for message in part.children(field))
    if len({feature.name for feature in features}) != len(features):
        raise damaged(f"the description names an {field} twice")
    return features


def _feature(message: Message, field: str, keys: dict[str, str]) -> Feature:
    name = message.text("name")
    where = f"the {field} {shown(name)}"
    if not name:
        raise damaged(f"an {field} of the description has no name")
    type_ = message.need("type")
    if field == "input" and type_.number("isOptional"):
        raise CoreMLError(
            f"{where} is optional", why="optional inputs are not known to this reader"
        )
    kind = type_.which("Type")
    description = message.text("shortDescription")
    if kind == "multiArrayType":
        return _array(type_.need(kind), name, where, description)
    if kind == "dictionaryType":
        key = type_.need(kind).which("KeyType")
        if key not in _KEYS:
            raise damaged(f"{where} is a dictionary without a type of its keys")
        keys[name] = _KEYS[key]
    elif kind not in ("stringType", "int64Type"):
        raise CoreMLError(
            f"{where} has the type {kind or 'none'}", why="it is not known to this reader"
        )
    return Feature(name, kind.removesuffix("Type"), "", (), description=description)


def _array(message: Message, name: str, where: str, description: str) -> Feature:
    code = message.number("dataType")
    if code not in _ARRAY_TYPES:
        raise CoreMLError(f"{where} has the unknown element type {code}")
    shape = _shape(message, where)
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    flexibility = message.which("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        inner = message.need(flexibility)
        shapes = tuple(_shape(each, where) for each in inner.children("shapes"))
        if shape not in shapes or len(set(shapes)) != len(shapes):
            raise CoreMLError(
                f"{where}: the default shape is not among the allowed ones, or one is listed twice",
                todo=_AGAIN,
            )
    elif flexibility == "shapeRange":
        inner = message.need(flexibility)
        ranges = tuple(_range(each, where) for each in inner.children("sizeRanges"))
        if len(ranges) != len(shape) or not all(
            low <= axis and (high is None or axis <= high)
            for axis, (low, high) in zip(shape, ranges, strict=True)
        ):
            raise CoreMLError(f"{where}: the default shape is outside its ranges", todo=_AGAIN)
    return Feature(name, "multiArray", _ARRAY_TYPES[code], shape, shapes, ranges, description)


def _shape(message: Message, where: str) -> tuple[int, ...]:
    raw = np.frombuffer(bytes(message.raw("shape")), np.uint8)
    count = varint_count(raw)
    if count > _MOST_AXES:
        raise CoreMLError(f"{where} has {count} axes; at most {_MOST_AXES} are allowed")
    shape = tuple(int(axis) for axis in varints(raw, count, "int64", f"the shape of {where}"))
    if any(not 0 < axis < 1 << 31 for axis in shape):
        raise CoreMLError(f"{where} has the impossible shape {list(shape)}")
    return shape


def _range(message: Message, where: str) -> tuple[int, int | None]:
    low, high = message.number("lowerBound"), message.number("upperBound")
    if low > 1 << 31 or high > 1 << 62 or 0 <= high < low:
        raise CoreMLError(f"{where} has the impossible range {low} to {high}")
    return low, None if high < 0 else high


def _same_names(field: str, features: Iterable[Feature], names: Iterable[str]) -> None:
    declared, real = {feature.name for feature in features}, set(names)
    for name in sorted(declared ^ real):
        side = "the description only" if name in declared else "the program only"
        raise CoreMLError(
            f"the {field} {shown(name)} is in {side}", why=_CONTRADICTION, todo=_AGAIN
        )


def _check_array(feature: Feature, real: FullType, field: str) -> None:
    """Every shape that the description allows must be one that the program's type allows."""
    where = f"the {field} {shown(feature.name)}"
    if not isinstance(real, TensorType) or real.dtype != feature.dtype:
        kind = real.dtype if isinstance(real, TensorType) else "no tensor"
        raise CoreMLError(
            f"{where} is declared {feature.dtype}, in the program it is {kind}",
            why=_CONTRADICTION,
            todo=_AGAIN,
        )
    declared = [shape for shape in (feature.shape, *feature.shapes) if shape]
    fits = all(
        len(shape) == len(real.shape)
        and all(axis in (None, size) for axis, size in zip(real.shape, shape, strict=True))
        for shape in declared
    )
    if fits and feature.ranges:
        fits = all(
            axis is None or bounds == (axis, axis)
            for axis, bounds in zip(real.shape, feature.ranges, strict=True)
        )
    if not fits:
        raise CoreMLError(
            f"{where} is declared with shapes that the program does not take, "
            f"which has {[axis if axis is not None else '?' for axis in real.shape]}",
            why=_CONTRADICTION,
            todo=_AGAIN,
        )


def _check_classifier(description: Description, read: ReadFunction) -> None:
    """A classifier's two outputs are those of its ``classify`` operation, and are declared so."""
    kinds = {feature.name: feature.kind for feature in description.outputs}
    others = {name for name, kind in kinds.items() if kind != "multiArray"}
    made = [each for each in read.function.operations if each.kind == "classify"]
    label, probabilities = (
        description.predicted_feature_name,
        description.predicted_probabilities_name,
    )
    if not (made or others or label or probabilities):
        return
    names = tuple(output.name for each in made for output in each.outputs)
    if names != (label, probabilities) or others != set(names):
        raise CoreMLError(
            "the model is declared a classifier only in part",
            why="predictedFeatureName, predictedProbabilitiesName and the outputs of one operation "
            "classify must be the same",
            todo=_AGAIN,
        )
    key = read.types[label]
    table = read.types[probabilities]
    if (
        key != TensorType(kinds[label], ())
        or not isinstance(table, DictionaryOf)
        or table.key != key
        or description.keys.get(probabilities) != kinds[label]
    ):
        raise CoreMLError(
            f"the label {shown(label)} and the keys of {shown(probabilities)} have other types "
            "than the program gives them",
            why=_CONTRADICTION,
            todo=_AGAIN,
        )
