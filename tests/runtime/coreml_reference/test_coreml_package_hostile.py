"""Programs that are hostile, contradictory or unknown: each is refused by a line that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coreml_packages import block_of, edited, quiet, save_variant

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant("ios16-fp16", tmp_path_factory.mktemp("packages"))


def _operation(spec: Any, kind: str) -> Any:
    return next(each for each in block_of(spec).operations if each.type == kind)


def _stored(spec: Any) -> Any:
    return next(
        each.attributes["val"]
        for each in block_of(spec).operations
        if each.type == "const" and each.attributes["val"].HasField("blobFileValue")
    )


def _ints(spec: Any) -> Any:
    """A constant of several int32 and its declared type."""
    return next(
        (each.attributes["val"], each.outputs[0].type)
        for each in block_of(spec).operations
        if each.type == "const"
        and len(each.attributes["val"].immediateValue.tensor.ints.values) > 1
    )


def _function(spec: Any) -> Any:
    return spec.mlProgram.functions["main"]


def _set_axis(type_: Any, size: int) -> None:
    type_.tensorType.dimensions[0].constant.size = size


def _later_argument(spec: Any) -> None:
    block = block_of(spec)
    first = next(each for each in block.operations if each.type != "const")
    name = next(iter(first.inputs))
    first.inputs[name].arguments[0].name = block.operations[-1].outputs[0].name


def _own_output(spec: Any) -> None:
    operation = _operation(spec, "softmax")
    operation.inputs["x"].arguments[0].name = operation.outputs[0].name


def _same_name(spec: Any) -> None:
    _operation(spec, "gelu").outputs[0].name = "input_ids"


def _two_arguments(spec: Any) -> None:
    argument = _operation(spec, "softmax").inputs["x"]
    argument.arguments.add().name = argument.arguments[0].name


def _state_input(spec: Any) -> None:
    function = _function(spec)
    tensor = function.inputs[0].type.SerializeToString()
    function.inputs[0].type.stateType.wrappedType.ParseFromString(tensor)


def _second_const_input(spec: Any) -> None:
    _operation(spec, "const").inputs["x"].arguments.add().name = "input_ids"


def _six_axes(spec: Any) -> None:
    tensor = _operation(spec, "softmax").outputs[0].type.tensorType
    tensor.rank = 6
    for _ in range(6 - len(tensor.dimensions)):
        tensor.dimensions.add().constant.size = 1


def _many_axes(spec: Any) -> None:
    tensor = _operation(spec, "softmax").outputs[0].type.tensorType
    tensor.rank = 500
    for _ in range(500 - len(tensor.dimensions)):
        tensor.dimensions.add().constant.size = 1


def _hidden_by_zero(spec: Any) -> None:
    tensor = _operation(spec, "softmax").outputs[0].type.tensorType
    for axis, size in zip(tensor.dimensions, (0, 2**30, 2**30, 2**30), strict=True):
        axis.constant.size = size


def _rename_output(spec: Any) -> None:
    block_of(spec).outputs[0] = "nothing"


def _neural_network(spec: Any) -> None:
    spec.neuralNetwork.SetInParent()


def _two_functions(spec: Any) -> None:
    functions = spec.mlProgram.functions
    functions["a"].CopyFrom(functions["main"])
    functions["b"].CopyFrom(functions["main"])
    del functions["main"]


def _with_attribute(message: Any) -> None:
    message.attributes["fast"].CopyFrom(message.attributes["fast"])


def _other_opset(spec: Any) -> None:
    function, block = _function(spec), block_of(spec)
    function.block_specializations["CoreML9"].CopyFrom(block)
    function.opset = "CoreML9"


# What is done to the model, and what the message must say.
CASES: list[tuple[str, Callable[[Any], object]]] = [
    ("'teleport' .* cannot be run", lambda s: setattr(_operation(s, "gelu"), "type", "teleport")),
    ("'while_loop' .* nested", lambda s: setattr(_operation(s, "gelu"), "type", "while_loop")),
    ("'gelu' .* nested blocks", lambda s: _operation(s, "gelu").blocks.add()),
    ("'read_state' .* state", lambda s: setattr(_operation(s, "gelu"), "type", "read_state")),
    ("no earlier operation", _later_argument),
    ("softmax .*, 'x', refers to .* no earlier operation", _own_output),
    ("'input_ids' is given twice", _same_name),
    ("softmax .*, 'x', has 2 arguments", _two_arguments),
    ("has 0 arguments", lambda s: _operation(s, "softmax").inputs["x"].ClearField("arguments")),
    ("output of gelu has no name", lambda s: _operation(s, "gelu").outputs[0].ClearField("name")),
    ("gelu has no outputs", lambda s: _operation(s, "gelu").ClearField("outputs")),
    ("must have one output, the attribute val", _second_const_input),
    ("'nothing' is made by no operation", _rename_output),
    ("has no output or names one twice", lambda s: block_of(s).outputs.append("logits")),
    ("has no output or names one twice", lambda s: block_of(s).ClearField("outputs")),
    ("block of function 'main' has inputs", lambda s: block_of(s).inputs.add()),
    ("function 'main' has the unknown attribute", lambda s: _with_attribute(_function(s))),
    ("block of .* unknown attribute 'fast'", lambda s: _with_attribute(block_of(s))),
    ("program has the unknown attribute 'fast'", lambda s: _with_attribute(s.mlProgram)),
    ("is a state", _state_input),
    ("softmax .* has 6 axes", _six_axes),
    ("lists 500 axes and says it has 500", _many_axes),
    ("more than 2\\^31 - 1 elements", _hidden_by_zero),
    ("an axis has 9223372036854775808", lambda s: _set_axis(_stored(s).type, 2**63)),
    ("says it has 9", lambda s: setattr(_stored(s).type.tensorType, "rank", 9)),
    ("element type bf16", lambda s: setattr(_stored(s).type.tensorType, "dataType", 13)),
    ("element type 99", lambda s: setattr(_stored(s).type.tensorType, "dataType", 99)),
    ("is declared fp32, its blob", lambda s: setattr(_stored(s).type.tensorType, "dataType", 11)),
    ("is stored in a weight file", lambda s: setattr(_stored(s).type.tensorType, "dataType", 2)),
    ("needs 64 bytes, its blob", lambda s: _set_axis(_stored(s).type, 1)),
    ("has no value", lambda s: _stored(s).ClearField("blobFileValue")),
    ("lacks its type", lambda s: _stored(s).ClearField("type")),
    ("no place for a blob", lambda s: setattr(_stored(s).blobFileValue, "offset", 65)),
    ("no place for a blob", lambda s: setattr(_stored(s).blobFileValue, "offset", 0)),
    ("no blob at offset 128", lambda s: setattr(_stored(s).blobFileValue, "offset", 128)),
    ("9223372036854775808, and", lambda s: setattr(_stored(s).blobFileValue, "offset", 2**63)),
    ("needs 1000000 numbers and", lambda s: _set_axis(_ints(s)[0].type, 1_000_000)),
    ("as ints, not as longInts", lambda s: setattr(_ints(s)[0].type.tensorType, "dataType", 24)),
    ("another type than its value", lambda s: setattr(_ints(s)[1].tensorType, "dataType", 24)),
    ("neuralNetwork, not an ML program", _neural_network),
    ("holds no model", lambda s: s.ClearField("mlProgram")),
    ("specification version 5", lambda s: setattr(s, "specificationVersion", 5)),
    ("specification version 11", lambda s: setattr(s, "specificationVersion", 11)),
    ("updatable", lambda s: setattr(s, "isUpdatable", True)),
    ("program has the version 2", lambda s: setattr(s.mlProgram, "version", 2)),
    ("lacks its description", lambda s: s.ClearField("description")),
    ("no function 'main'.* has 'a', 'b'", _two_functions),
    ("no function 'main'.* has none", lambda s: s.mlProgram.functions.clear()),
    ("'none such'", lambda s: setattr(s.description, "defaultFunctionName", "none such")),
    ("operation set 'CoreML99'", lambda s: setattr(_function(s), "opset", "CoreML99")),
    ("no block for", lambda s: setattr(_function(s), "opset", "CoreML7")),
    ("came after specification 7", _other_opset),
]


@pytest.mark.parametrize(("says", "change"), CASES, ids=[case[0] for case in CASES])
def test_refused(plain: Path, tmp_path: Path, says: str, change: Callable[[Any], object]) -> None:
    with pytest.raises(CoreMLError, match=says) as caught:
        read_package(edited(plain, tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "weights/weight.bin",
        "/etc/passwd",
        "@model_path/../../Manifest.json",
        "@model_path//etc/passwd",
        "@model_path/weights\\weight.bin",
        "@model_path/weights/\x00",
        "@model_path/",
        "@model_path/c:/x",
        "@model_path/weights/../weights/weight.bin",
    ],
)
def test_weight_file_outside_the_package(plain: Path, tmp_path: Path, name: str) -> None:
    copy = edited(plain, tmp_path, lambda s: setattr(_stored(s).blobFileValue, "fileName", name))
    with pytest.raises(CoreMLError, match=r"outside the package|could leave the package"):
        read_package(copy)


def test_weight_file_that_is_missing_is_named(plain: Path, tmp_path: Path) -> None:
    name = "@model_path/weights/other.bin"
    copy = edited(plain, tmp_path, lambda s: setattr(_stored(s).blobFileValue, "fileName", name))
    with pytest.raises(CoreMLError, match=r"lacks 'Data/com.apple.CoreML/weights/other.bin'"):
        read_package(copy)


def test_several_block_specializations_and_functions(plain: Path, tmp_path: Path) -> None:
    """Only the block of the function's own operation set is run, and only that must be known."""

    def change(spec: Any) -> None:
        function = _function(spec)
        function.block_specializations["CoreML5"].operations.add().type = "teleport"
        spec.mlProgram.functions["other"].opset = "Future1"

    assert read_package(edited(plain, tmp_path, change)).function.opset == "CoreML6"


def test_model_of_several_functions(tmp_path: Path) -> None:
    """Made by coremltools: the default function is read, with its own part of the description."""
    with quiet():
        import coremltools as ct

        descriptor = ct.utils.MultiFunctionDescriptor()
        for name in ("ios18-int8", "ios18-enumerated"):
            descriptor.add_function(str(save_variant(name, tmp_path)), "main", name[6:])
        descriptor.default_function_name = "enumerated"
        path = tmp_path / "both.mlpackage"
        ct.utils.save_multifunction(descriptor, str(path))
    package = read_package(path)
    assert package.function.name == "enumerated"
    assert sorted(package.inputs[0].shapes) == [(1, 8), (1, 16)]

    def other(spec: Any) -> None:
        spec.description.defaultFunctionName = "int8"

    package = read_package(edited(path, tmp_path, other))
    assert (package.function.name, package.inputs[0].shapes) == ("int8", ())
