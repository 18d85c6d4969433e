"""Descriptions that contradict the program: each is refused by a line that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coreml_packages import edited, save_variant

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant("ios16-fp16", tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant("classifier", tmp_path_factory.mktemp("packages"))


DESCRIPTIONS: list[tuple[str, Callable[[Any], object]]] = [
    ("input 'ids' is in the description only", lambda d: setattr(d.input[0], "name", "ids")),
    ("'extra' is in the description only", lambda d: _extra(d.output, d.output[0])),
    ("names an input twice", lambda d: _extra(d.input, d.input[0], "input_ids")),
    ("an input of the description has no name", lambda d: d.input[0].ClearField("name")),
    ("declared fp32, in the program", lambda d: setattr(_array(d), "dataType", 65568)),
    ("unknown element type 7", lambda d: setattr(_array(d), "dataType", 7)),
    ("shapes that the program does not", lambda d: _array(d).shape.__setitem__(1, 17)),
    ("shapes that the program does not", lambda d: _array(d).shape.append(1)),
    ("impossible shape", lambda d: _array(d).shape.__setitem__(1, -1)),
    ("has 90 axes", lambda d: _array(d).shape.extend([1] * 88)),
    ("no array with a shape", lambda d: _array(d).ClearField("shape")),
    ("not among the allowed", lambda d: _array(d).enumeratedShapes.shapes.add().shape.append(3)),
    ("outside its ranges", lambda d: _array(d).shapeRange.sizeRanges.add()),
    ("shapes that the program does not", lambda d: _range(d, 1, 16)),
    ("outside its ranges", lambda d: _range(d, 17, 20)),
    ("impossible range 20 to 17", lambda d: _range(d, 20, 17)),
    ("is optional", lambda d: setattr(d.input[0].type, "isOptional", True)),
    ("has the type imageType", lambda d: setattr(d.input[0].type.imageType, "width", 3)),
    ("is no array", lambda d: d.input[0].type.stringType.SetInParent()),
    ("is a dictionary", lambda d: d.input[0].type.dictionaryType.stringKeyType.SetInParent()),
    ("keeps the state 'cache'", lambda d: setattr(d.state.add(), "name", "cache")),
    ("does not list the function", lambda d: setattr(d.functions.add(), "name", "other")),
    ("both of the model and", lambda d: setattr(d.functions.add(), "name", "main")),
    ("classifier only in part", lambda d: setattr(d, "predictedFeatureName", "logits")),
]


def _array(description: Any) -> Any:
    return description.input[0].type.multiArrayType


def _extra(features: Any, feature: Any, name: str = "extra") -> None:
    features.add().CopyFrom(feature)
    features[-1].name = name


def _range(description: Any, low: int, high: int) -> None:
    ranges = _array(description).shapeRange.sizeRanges
    ranges.add(lowerBound=1, upperBound=1)
    ranges.add(lowerBound=low, upperBound=high)


@pytest.mark.parametrize(("says", "change"), DESCRIPTIONS, ids=[case[0] for case in DESCRIPTIONS])
def test_description_that_contradicts_the_program(
    plain: Path, tmp_path: Path, says: str, change: Callable[[Any], object]
) -> None:
    with pytest.raises(CoreMLError, match=says):
        read_package(edited(plain, tmp_path, lambda spec: change(spec.description)))


def _int_label(description: Any) -> None:
    for feature in description.output:
        if feature.type.WhichOneof("Type") == "stringType":
            feature.type.int64Type.SetInParent()


def _int_keys(description: Any) -> None:
    for feature in description.output:
        if feature.type.WhichOneof("Type") == "dictionaryType":
            feature.type.dictionaryType.int64KeyType.SetInParent()


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("only in part", lambda d: d.ClearField("predictedFeatureName")),
        ("only in part", lambda d: d.ClearField("predictedProbabilitiesName")),
        ("only in part", lambda d: setattr(d, "predictedProbabilitiesName", "classLabel")),
        ("have other types", _int_label),
        ("have other types", _int_keys),
    ],
)
def test_classifier_that_is_declared_in_part(
    classifier: Path, tmp_path: Path, says: str, change: Callable[[Any], object]
) -> None:
    with pytest.raises(CoreMLError, match=says):
        read_package(edited(classifier, tmp_path, lambda spec: change(spec.description)))
