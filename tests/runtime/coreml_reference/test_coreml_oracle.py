"""A second opinion: coremltools' own evaluation of every operation of every form of program.

coremltools evaluates an operation in numpy where all its inputs are known. Each operation of a
converted program is handed the inputs that it had in our run, in float32, and must give our result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_packages import VARIANTS, quiet, save_variant
from coreml_variants import MORE_VARIANTS, ids_and_mask, save_more

from runtime.coreml_reference.constants import evaluate
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.kernels import CONSTANT_OPERATIONS, KERNELS
from runtime.coreml_reference.numerics import FLOAT_TYPES, Numerics
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Array, Package, TensorType

TARGETS = {
    "CoreML5": "iOS15",
    "CoreML6": "iOS16",
    "CoreML7": "iOS17",
    "CoreML8": "iOS18",
    "CoreML9": "iOS26",
}
# coremltools cannot evaluate these; test_coreml_kernels* and test_coreml_executor test them.
# Of reductions it could, but hands numpy 2.4 a `keepdims` that it refuses.
WITHOUT_EVALUATION = {"batch_norm", "conv", "classify", "reduce_sum"}
# What all programs together must contain, so that the comparison cannot shrink unnoticed.
EXPECTED_KINDS = [
    "add",
    "cast",
    "concat",
    "equal",
    "expand_dims",
    "gather",
    "gelu",
    "greater_equal",
    "layer_norm",
    "linear",
    "matmul",
    "mul",
    "quantize",
    "dequantize",
    "real_div",
    "relu",
    "reshape",
    "scaled_dot_product_attention",
    "select",
    "shape",
    "sigmoid",
    "slice_by_index",
    "softmax",
    "split",
    "sqrt",
    "squeeze",
    "sub",
    "transpose",
    "einsum",
]
EXPECTED_CONSTANTS = CONSTANT_OPERATIONS - {"const", "constexpr_cast"}
# These differ from others in nothing that the executor sees, or only in a number of bits.
REPEATED = {
    "ios15",
    "ios17",
    "ios26",
    "classifier-numbers",
    "ios18-int8",
    "ios18-palette1",
    "ios18-palette2",
    "ios18-palette3",
    "ios18-palette6",
    "plain-ios16-fp32",
}
ALL = [
    pytest.param(name, marks=pytest.mark.slow) if name in REPEATED else name
    for name in (*VARIANTS, *MORE_VARIANTS)
]

COMPARED: Counter[str] = Counter()


@pytest.fixture(scope="module", params=ALL)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Package, Any]]:
    """A package as we read it, and its function as coremltools reads it."""
    folder = tmp_path_factory.mktemp("oracle")
    save = save_variant if request.param in VARIANTS else save_more
    path = save(request.param, folder)
    with quiet():
        from coremltools.converters.mil.frontend.milproto.load import load
        from coremltools.proto import Model_pb2

        root = path / "Data" / "com.apple.CoreML"
        spec = Model_pb2.Model()
        spec.ParseFromString((root / "model.mlmodel").read_bytes())
        program = load(spec, spec.specificationVersion, str(root / "weights"))
    yield read_package(path), program.functions["main"]


def _inputs(package: Package) -> dict[str, Array]:
    return {n.name: ids_and_mask()[n.name] for n in package.function.inputs}


class _Oracle:
    """Evaluates operations with coremltools, given the values of one of our runs."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.executor = Executor(package, ExecutorSettings("f32"))
        self.values: dict[str, Any] = dict(_inputs(package))
        self.executor.run(
            _inputs(package), lambda _, name, value: self.values.update({name: value})
        )

    def value(self, variable: Any) -> Any:
        if variable.name in self.values:
            return self.values[variable.name]
        if variable.name in self.executor.constants:
            return self.executor.constants[variable.name]
        return variable.val

    def evaluate(self, operation: Any) -> list[Any]:
        """Results by coremltools."""
        from coremltools.converters.mil._deployment_compatibility import AvailableTarget
        from coremltools.converters.mil.mil import Builder, Function

        target = AvailableTarget[TARGETS[self.package.function.opset]]
        given: dict[str, Any] = {}
        with quiet(), np.errstate(all="ignore"), Function({}, opset_version=target):
            for name, variable in operation.inputs.items():
                if variable is None or name not in KERNELS[operation.op_type].parameters:
                    continue
                sort = KERNELS[operation.op_type].parameters[name].sort
                if sort == "Arrays":
                    given[name] = tuple(Builder.const(val=self.value(v)) for v in variable)
                elif sort in ("Array", "Stored"):
                    given[name] = Builder.const(val=_plain(self.value(variable)))
                else:
                    given[name] = _plain(self.value(variable))
            made = getattr(Builder, operation.op_type)(**given)
            made = list(made) if isinstance(made, list | tuple) else [made]
            if operation.op_type == "dequantize":
                return [made[0].op.materialized_val_inference()]
            return [variable.val for variable in made]


def _plain(value: Any) -> Any:
    """Scalars as numpy scalars, which is how coremltools takes them."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    return value


def _compare(kind: str, found: Array, expected: Any, to_half: bool) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape, kind
    if found.dtype.kind == "f":
        scale = max(float(np.abs(found).max(initial=0)), 1e-6)
        error = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0)
        assert error <= (1e-3 if to_half else 4e-6) * scale, kind
    else:
        assert np.array_equal(found, expected), kind


def test_every_operation(loaded: tuple[Package, Any]) -> None:
    package, function = loaded
    oracle = _Oracle(package)
    ours = {o.outputs[0].name: o for o in package.function.operations}
    compared = 0
    for operation in function.operations:
        kind = operation.op_type
        if kind in CONSTANT_OPERATIONS or kind in WITHOUT_EVALUATION:
            continue
        assert ours[operation.outputs[0].name].kind == kind
        results = oracle.evaluate(operation)
        assert all(result is not None for result in results), kind
        to_half = kind == "cast" and operation.dtype.val == "fp16"
        for variable, result in zip(operation.outputs, results, strict=True):
            _compare(kind, oracle.values[variable.name], result, to_half)
        compared += 1
        COMPARED[kind] += 1
    wanted = [
        o
        for o in package.function.operations
        if o.kind not in CONSTANT_OPERATIONS and o.kind not in WITHOUT_EVALUATION
    ]
    assert compared == len(wanted) > 20


def test_every_compressed_constant_bit_for_bit(loaded: tuple[Package, Any]) -> None:
    package, function = loaded
    numerics = Numerics("f16")
    theirs = {o.outputs[0].name: o for o in function.operations}
    values: dict[str, Any] = {}
    for operation in package.function.operations:
        if operation.kind == "const":
            values[operation.outputs[0].name] = operation.attributes["val"].load()
        if operation.kind == "const" or operation.kind not in CONSTANT_OPERATIONS:
            continue
        given = {k: v.load() for k, v in operation.attributes.items()}
        for parameter, (argument,) in operation.inputs.items():
            given[parameter] = values[argument] if isinstance(argument, str) else argument.load()
        results = evaluate(operation, given, numerics)
        with quiet():
            expected = theirs[operation.outputs[0].name].materialized_val_inference()
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert len(results) == len(expected) == len(operation.outputs)
        for output, result, other in zip(operation.outputs, results, expected, strict=True):
            assert isinstance(output.type, TensorType)
            assert result.shape == other.shape == output.type.shape
            if output.type.dtype in FLOAT_TYPES:
                result = numerics.store(result, output.type.dtype)  # noqa: PLW2901
            assert np.array_equal(result, other.astype(result.dtype)), operation.name
            values[output.name] = result
        COMPARED[operation.kind] += 1


def test_no_kind_was_left_out() -> None:
    """Runs last in this file, over what the tests above compared."""
    if sum(COMPARED.values()) < 600:
        pytest.skip("only a part of the programs was compared")
    missing = [k for k in (*EXPECTED_KINDS, *EXPECTED_CONSTANTS) if not COMPARED[k]]
    assert missing == []


def test_a_wrong_kernel_is_caught(tmp_path: Path) -> None:
    """The comparison can fail: a GELU of the other kind is not ours."""
    package = read_package(save_more("plain-ios16", tmp_path))
    oracle = _Oracle(package)
    gelu = next(o for o in package.function.operations if o.kind == "gelu")
    (source,) = gelu.inputs["x"]
    x = oracle.values[str(source)]
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    with pytest.raises(AssertionError, match="gelu"):
        _compare("gelu", oracle.values[gelu.outputs[0].name], tanh, False)
