"""What the executor refuses, by name: inputs, ids, parameters, results that are not as declared."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from coreml_programs import constant, operation, program
from coreml_variants import VOCABULARY, ids_and_mask, save_more

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.kernels import CONSTANT_OPERATIONS, KERNELS, KNOWN_OPERATIONS
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import (
    Array,
    CoreMLError,
    Feature,
    Operation,
    OtherType,
    Package,
    TensorType,
)

X = {"x": TensorType("fp16", (2, 3))}
INPUTS = {"x": np.ones((2, 3), np.float16)}
SAME: list[tuple[str, tuple[int | None, ...]]] = [("fp16", (2, 3))]


@pytest.fixture(scope="module", params=["plain-ios17", "plain-ios16"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return read_package(save_more(request.param, tmp_path_factory.mktemp("real")))


def _run(steps: list[Operation], inputs: dict[str, Array] | None = None, **settings: Any) -> Any:
    package = program(X, steps, [steps[-1].outputs[0].name])
    return Executor(package, ExecutorSettings(**settings)).run(inputs or INPUTS)


def test_every_kind_is_known_once() -> None:
    assert not KERNELS.keys() & CONSTANT_OPERATIONS
    assert {*KERNELS, *CONSTANT_OPERATIONS, "classify"} == KNOWN_OPERATIONS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": None}, "inputs are missing: input_ids"),
        ({"token_type_ids": np.zeros((1, 16), np.int32)}, "inputs are unknown: token_type_ids"),
        ({"input_ids": np.ones((1, 16), np.int64)}, "input_ids is int64, not int32"),
        ({"input_ids": np.ones((1, 16), np.float32)}, "input_ids is float32, not int32"),
        ({"input_ids": [[1] * 16]}, "input_ids is list, not a numpy array"),
        ({"input_ids": np.ones((1, 8), np.int32)}, r"input_ids has the shape \(1, 8\)"),
        ({"attention_mask": np.ones((16,), np.int32)}, r"attention_mask has the shape \(16,\)"),
        ({"attention_mask": np.ones((2, 16), np.int32)}, r"attention_mask has the shape"),
    ],
)
def test_wrong_inputs(real: Package, change: dict[str, Any], message: str) -> None:
    inputs = {k: v for k, v in (ids_and_mask() | change).items() if v is not None}
    with pytest.raises(CoreMLError, match=message):
        Executor(real).run(inputs)


@pytest.mark.parametrize("wrong", [-1, -VOCABULARY, VOCABULARY, 32768, 40000, 65535, 65536 + 5])
def test_ids_outside_the_vocabulary(real: Package, wrong: int) -> None:
    executor, inputs = Executor(real, ExecutorSettings("f32")), ids_and_mask()
    inputs["input_ids"][0, 5] = wrong
    message = f"^gather .*the id {wrong} in input_ids is outside a table of {VOCABULARY} entries"
    with pytest.raises(CoreMLError, match=message):
        executor.run(inputs)
    inputs["input_ids"][0, 5] = VOCABULARY - 1
    executor.run(inputs)


def test_ids_are_followed_through_the_wrapping_that_ios17_adds(real: Package) -> None:
    if real.function.opset == "CoreML7":
        kinds = [o.kind for o in real.function.operations]
        assert "select" in kinds
        assert "greater_equal" in kinds


def test_a_computed_index_is_checked_where_it_is_used() -> None:
    steps = [
        operation("add", "more", [("int32", (2,))], x="i", y=constant(np.int32(3))),
        operation(
            "gather", "row", [("fp32", (2,))], x=constant(np.float32([1, 2, 3, 4])), indices="more"
        ),
    ]
    package = program({"i": TensorType("int32", (2,))}, steps, ["row"])
    executor = Executor(package)
    assert executor.run({"i": np.int32([0, -3])})["row"].tolist() == [4, 1]
    with pytest.raises(CoreMLError, match="gather row: the index 4 is outside a table of 4"):
        executor.run({"i": np.int32([1, 0])})
    cast = operation("cast", "short", [("int16", (2,))], x="i", dtype=constant("int16"))
    with pytest.raises(CoreMLError, match="cast short: the value 40000 does not fit into int16"):
        Executor(program({"i": TensorType("int32", (2,))}, [cast], ["short"])).run(
            {"i": np.int32([0, 40000])}
        )


@pytest.mark.parametrize(
    ("feature", "allowed", "refused"),
    [
        ({"shape": (1, 4), "shapes": ((1, 4), (1, 8))}, [4, 8], [1, 5, 9]),
        ({"shape": (1, 4), "ranges": ((1, 1), (2, 6))}, [2, 6], [1, 7]),
        ({"shape": (1, 4), "ranges": ((1, 1), (2, None))}, [2, 99], [1]),
        ({"shape": (1, 4)}, [4], [3]),
        ({"shape": ()}, [3, 4], []),
    ],
)
def test_shapes_that_the_description_allows(
    feature: dict[str, Any], allowed: list[int], refused: list[int]
) -> None:
    described = Feature("x", "multiArray", "fp32", **feature)
    steps = [operation("relu", "y", [("fp32", (1, None))], x="x")]
    executor = Executor(
        program({"x": TensorType("fp32", (1, None))}, steps, ["y"], features=[described])
    )
    for length in allowed:
        assert executor.run({"x": np.ones((1, length), np.float32)})["y"].shape == (1, length)
    for length in refused:
        with pytest.raises(CoreMLError, match=rf"the input x has the shape \(1, {length}\)"):
            executor.run({"x": np.ones((1, length), np.float32)})


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        ("relu", {"x": "x", "slope": constant(np.float16(1))}, "the parameter slope is unknown"),
        ("relu", {}, "the parameter x is missing"),
        ("relu", {"x": ("x", "x")}, "x has 2 arguments"),
        ("relu", {"x": constant("text")}, "the parameter x is no tensor"),
        ("gelu", {"x": "x", "mode": constant("SWISH")}, "mode 'SWISH' is unknown"),
        ("gelu", {"x": "x", "mode": constant(np.int32(1))}, "the parameter mode is no text"),
        ("gelu", {"x": "x", "mode": "x"}, "mode must be constant"),
        ("softmax", {"x": "x", "axis": constant(np.float16(1))}, "axis is float16"),
        ("softmax", {"x": "x", "axis": constant(np.int32([1]))}, "axis is int32"),
        ("softmax", {"x": "x", "axis": constant(np.int32(2))}, "axis 2 is outside"),
        ("transpose", {"x": "x", "perm": constant(np.float16([1, 0]))}, "no vector of integers"),
        ("add", {"x": "x", "y": constant(np.float16([1, 2]))}, "cannot be run"),
        ("relu", {"x": "nowhere"}, "nowhere"),
        ("teleport", {"x": "x"}, "this operation is unknown"),
    ],
)
def test_parameters_that_do_not_fit(kind: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(CoreMLError, match=f"^{kind} op.*{message}"):
        _run([operation(kind, "op", SAME, **inputs)])


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("fp16", (3, 2))], r"op has the shape \(2, 3\)"),
        ([("fp16", (2, 3, 1))], r"op has the shape \(2, 3\)"),
        ([("int32", (2, 3))], "op is float64"),
        ([("string", (2, 3))], "op is float64"),
        ([("fp16", (2, 3)), ("fp16", (2, 3))], "gives 1 results"),
        ([("fp16", (1 << 20, 1 << 20))], "is refused"),
    ],
)
def test_results_that_are_not_as_declared(
    outputs: list[tuple[str, tuple[int | None, ...]]], message: str
) -> None:
    with pytest.raises(CoreMLError, match=message):
        _run([operation("relu", "op", outputs, x="x")])


def test_a_free_axis_takes_any_length() -> None:
    found = _run([operation("relu", "op", [("fp16", (None, 3))], x="x")])
    assert found["op"].shape == (2, 3)


def test_constants_that_contradict_themselves() -> None:
    lookup = Operation(
        "constexpr_lut_to_dense",
        "w",
        {},
        operation("x", "w", [("fp16", (2, 2))]).outputs,
        {
            "indices": constant(np.zeros(1, np.uint8)),
            "lut": constant(np.float16([1, 2])),
            "shape": constant(np.uint32([2, 3])),
        },
    )
    with pytest.raises(CoreMLError, match=r"lut_to_dense w: w has the shape \(2, 3\)"):
        _run([lookup, operation("relu", "op", SAME, x="x")])
    with pytest.raises(CoreMLError, match="lut_to_dense w: the parameter lut is missing"):
        broken = {k: v for k, v in lookup.attributes.items() if k != "lut"}
        _run([Operation(lookup.kind, "w", {}, lookup.outputs, broken)])


def test_classes_and_probabilities_that_differ_in_number() -> None:
    labels = constant(("a", "b"))
    classify = Operation(
        "classify",
        "label",
        {"probabilities": ("x",), "classes": (labels,)},
        operation("x", "label", [("string", ()), ("string", ())]).outputs,
        {},
    )
    with pytest.raises(CoreMLError, match="6 probabilities for 2 classes"):
        _run([classify])


def test_inputs_that_are_no_tensors_and_unknown_sets() -> None:
    state = program(X, [operation("relu", "op", SAME, x="x")], ["op"])
    object.__setattr__(state.function.inputs[0], "type", OtherType("state"))
    with pytest.raises(CoreMLError, match="the input x is a state"):
        Executor(state).run(INPUTS)
    unknown = program(X, [operation("relu", "op", SAME, x="x")], ["op"])
    object.__setattr__(unknown.function, "opset", "CoreML99")
    with pytest.raises(CoreMLError, match="'CoreML99' is unknown"):
        Executor(unknown)


def test_settings() -> None:
    with pytest.raises(CoreMLError, match="'f8' is unknown"):
        ExecutorSettings(mode="f8")  # type: ignore[arg-type]
    with pytest.raises(CoreMLError, match="at least 1"):
        ExecutorSettings(accumulation_block=0)


def test_quantized_activations_that_cannot_be_left_out() -> None:
    scale = constant(np.float16(0.5))
    quantize = operation(
        "quantize", "q", [("int8", (2, 3))], input="x", scale=scale, output_dtype=constant("int8")
    )
    moved = operation("transpose", "t", [("int8", (3, 2))], x="q", perm=constant(np.int32([1, 0])))
    back = operation("dequantize", "d", [("fp16", (3, 2))], input="t", scale=scale)
    third = {"x": np.full((2, 3), 0.3, np.float16)}
    assert _run([quantize, moved, back], third)["d"][0, 0] == 0.5
    left_out = _run([quantize, moved, back], third, quantize_activations=False)["d"]
    assert left_out[0, 0] == np.float16(0.3)
    whole = operation("cast", "c", [("int32", (2, 3))], x="q", dtype=constant("int32"))
    assert _run([quantize, whole], third)["c"][0, 0] == 1
    with pytest.raises(CoreMLError, match="cast c computes with quantized activations"):
        _run([quantize, whole], third, quantize_activations=False)
    # Weights that are kept as int8 and dequantized in the program are not activations.
    weight = operation(
        "dequantize", "w", [("fp16", (3,))], input=constant(np.int8([1, 2, 3])), scale=scale
    )
    assert _run([weight], quantize_activations=False)["w"].tolist() == [0.5, 1, 1.5]


def test_no_warning_reaches_the_console() -> None:
    steps = [
        operation("log", "a", SAME, x="x", epsilon=constant(np.float16(0))),
        operation("real_div", "b", SAME, x="x", y="a"),
        operation("exp", "c", SAME, x="b"),
        operation("erf", "d", SAME, x="c"),
        operation("sqrt", "e", SAME, x="a"),
    ]
    values = np.float16([[-1, 0, 1], [np.nan, np.inf, -np.inf]])
    for mode in ("f32", "f64", "f16", "f16acc"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _run(steps, {"x": values}, mode=mode)


@pytest.mark.parametrize(
    "kind", ["exp", "erf", "gelu", "layer_norm", "reduce_mean", "relu", "rsqrt", "softmax", "tanh"]
)
def test_integers_where_only_floats_are_defined(kind: str) -> None:
    package = program(
        {"x": TensorType("int32", (2, 3))}, [operation(kind, "op", SAME, x="x")], ["op"]
    )
    for mode in ("f32", "f64", "f16", "f16acc"):
        with pytest.raises(CoreMLError, match=f"{kind} op: an operand is int32"):
            Executor(package, ExecutorSettings(mode)).run({"x": np.ones((2, 3), np.int32)})


def test_any_operands_give_a_result_or_a_typed_error() -> None:
    generator = np.random.default_rng(17)
    names = {"float16": "fp16", "float32": "fp32", "bool": "bool"}
    outcomes = {"result": 0, "refused": 0}
    for _ in range(1500):
        kind = str(generator.choice(sorted(KERNELS)))
        inputs: dict[str, Array] = {}
        given: dict[str, Any] = {}
        for parameter in KERNELS[kind].parameters.values():
            shape = tuple(generator.integers(0, 4, generator.integers(0, 4)).tolist())
            dtype = generator.choice(["float16", "float32", "int32", "bool", "int8"])
            if parameter.sort in ("Array", "Stored", "Arrays"):
                name = f"v{len(inputs)}"
                array = np.asarray(generator.integers(-9, 9, shape)).astype(dtype)
                inputs[name] = next(iter(inputs.values()), array)
                given[parameter.name] = name
            elif parameter.required or generator.random() < 0.5:
                numbers = generator.integers(-3, 5, generator.integers(0, 4)).astype(np.int32)
                scalar = np.asarray(generator.integers(-2, 3)).astype(dtype)
                vector = parameter.sort == "Ints"
                given[parameter.name] = constant(numbers if vector else scalar)
        types = {
            name: TensorType(names.get(str(array.dtype), str(array.dtype)), array.shape)
            for name, array in inputs.items()
        }
        first = next(iter(types.values()), TensorType("fp32", (1,)))
        free = (None,) * len(first.shape)
        package = program(types, [operation(kind, "op", [(first.dtype, free)], **given)], ["op"])
        try:
            Executor(package, ExecutorSettings("f16acc")).run(inputs)
            outcomes["result"] += 1
        except CoreMLError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100
