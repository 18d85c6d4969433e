"""Whole programs: modes, outputs, tracing, quantization left out, reproducibility."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_programs import constant, operation, program
from coreml_variants import ids_and_mask, save_more, torch_logits

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.numerics import MODES, Mode
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Array, Package, TensorType

ROOT = Path(__file__).resolve().parents[3]
VECTOR = TensorType("fp16", (3,))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    folder = tmp_path_factory.mktemp("packages")
    names = ("plain-ios16-fp32", "plain-ios16", "w8a8-ios17", "classifier-sigmoid", "one-input")
    return {name: read_package(save_more(name, folder)) for name in names}


def _logits(package: Package, mode: Mode, inputs: dict[str, Array], **settings: Any) -> Array:
    found = Executor(package, ExecutorSettings(mode, **settings)).run(inputs)["logits"]
    return np.asarray(found, np.float64)


def test_end_to_end_against_torch(packages: dict[str, Package]) -> None:
    for seed in range(3):
        inputs = ids_and_mask(seed=seed)
        reference = torch_logits(inputs, torch.float64)
        assert np.abs(reference).max() > 0.3
        stored = packages["plain-ios16-fp32"]
        assert np.abs(_logits(stored, "f32", inputs) - reference).max() <= 1e-5
        assert np.abs(_logits(stored, "f64", inputs) - reference).max() <= 2e-6
        assert np.abs(_logits(packages["plain-ios16"], "f16", inputs) - reference).max() <= 2e-2


def test_stress_is_worse_than_one_rounding_for_each_operation(packages: dict[str, Package]) -> None:
    exact, typed, stressed = (
        np.concatenate(
            [_logits(packages["plain-ios16"], mode, ids_and_mask(seed=k)) for k in range(8)]
        )
        for mode in ("f64", "f16", "f16acc")
    )
    error, worse = (np.sqrt(np.mean((x - exact) ** 2)) for x in (typed, stressed))
    assert 1e-5 < error < worse < 0.1


def test_types_of_outputs_and_constants(packages: dict[str, Package]) -> None:
    package, inputs = packages["plain-ios16"], ids_and_mask()
    kept = {"f32": "f4", "f64": "f8", "f16": "f8", "f16acc": "f4"}
    for mode in MODES:
        executor = Executor(package, ExecutorSettings(mode))
        result = executor.run(inputs)["logits"]
        wanted = kept[mode] if mode in ("f32", "f64") else "f2"
        assert (result.dtype, result.shape) == (np.dtype(wanted), (1, 3))
        for name in ("embeddings_word_embeddings_weight", "ffn_lin1_weight"):
            (full,) = (key for key in executor.constants if name in key)
            weight = executor.constants[full]
            assert weight.dtype == np.dtype(kept[mode])
            assert np.array_equal(weight, weight.astype(np.float16))
        assert executor.non_finite == ()


def test_compression_leaves_only_effective_weights(packages: dict[str, Package]) -> None:
    executor = Executor(packages["w8a8-ios17"], ExecutorSettings("f32"))
    plain = Executor(packages["plain-ios16"], ExecutorSettings("f32"))
    weights = {k: v for k, v in executor.constants.items() if getattr(v, "ndim", 0) == 2}
    assert weights
    for name, weight in weights.items():
        other = next(v for k, v in plain.constants.items() if k == name.replace("_quantized", ""))
        step = np.abs(other).max(axis=1, keepdims=True) / 127
        assert (np.abs(weight - other) <= 0.6 * step + 1e-6).all(), name
    assert not [k for k in executor.constants if "quantized_data" in k]


def test_quantized_activations_can_be_left_out(packages: dict[str, Package]) -> None:
    package, inputs = packages["w8a8-ios17"], ids_and_mask()
    reference = torch_logits(inputs)
    kinds = {o.kind for o in package.function.operations}
    assert {"quantize", "dequantize"} <= kinds
    with_rounding = np.abs(_logits(package, "f32", inputs) - reference).max()
    weights_only = _logits(package, "f32", inputs, quantize_activations=False)
    assert np.abs(weights_only - reference).max() < with_rounding
    seen: dict[str, Array] = {}
    settings = ExecutorSettings("f32", quantize_activations=False)
    Executor(package, settings).run(inputs, lambda o, _, v: seen.update({o.name: v}))
    pairs = [o for o in package.function.operations if o.kind == "dequantize"]
    for pair in pairs:
        assert seen[pair.name].dtype == np.float32
        # The value comes back unrounded: it is not a multiple of the scale.
        assert len(np.unique(seen[pair.name])) > 256 or seen[pair.name].size <= 256


def test_classifier(packages: dict[str, Package]) -> None:
    inputs = ids_and_mask()
    expected = torch.sigmoid(torch.from_numpy(torch_logits(inputs)))[0].tolist()
    executor = Executor(packages["classifier-sigmoid"], ExecutorSettings("f32"))
    package = packages["classifier-sigmoid"]
    result = executor.run(inputs)
    label = result[package.predicted_feature_name]
    probabilities = result[package.predicted_probabilities_name]
    assert list(probabilities) == ["a", "b", "c"]
    assert list(probabilities.values()) == pytest.approx(expected, abs=2e-3)
    assert label == max(probabilities, key=probabilities.__getitem__)


def test_enumerated_lengths_run(packages: dict[str, Package]) -> None:
    executor = Executor(packages["one-input"], ExecutorSettings("f32"))
    for length in (8, 16):
        inputs = ids_and_mask(length)
        found = executor.run({"input_ids": inputs["input_ids"]})["logits"]
        assert np.abs(found - torch_logits(inputs)).max() < 5e-3


def test_trace_sees_every_result_once_and_changes_nothing(packages: dict[str, Package]) -> None:
    package, inputs = packages["plain-ios16"], ids_and_mask()
    seen: dict[str, Array] = {}
    executor = Executor(package, ExecutorSettings("f16"))
    first = executor.run(inputs)["logits"]

    def trace(_: Any, name: str, value: Array) -> None:
        assert name not in seen
        seen[name] = value
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0

    assert np.array_equal(executor.run(inputs, trace)["logits"], first)
    computed = [o for o in package.function.operations if o.kind != "const"]
    assert set(seen) == {output.name for o in computed for output in o.outputs}
    for o in computed:
        for output in o.outputs:
            if isinstance(output.type, TensorType) and output.type.dtype == "fp16":
                value = seen[output.name]
                assert np.array_equal(value, value.astype(np.float16), equal_nan=True)


def test_overflow_is_recorded() -> None:
    steps = [
        operation("mul", "big", [("fp16", (3,))], x="x", y=constant(np.float16(1000))),
        operation("sub", "none", [("fp16", (3,))], x="big", y="big"),
        operation("maximum", "back", [("fp16", (3,))], x="none", y=constant(np.float16(0))),
    ]
    package = program({"x": VECTOR}, steps, ["big", "none", "back"])
    inputs = {"x": np.float16([1, 66, -66])}
    executor = Executor(package)
    result = executor.run(inputs)
    assert result["big"].tolist() == [1000, np.inf, -np.inf]
    assert executor.non_finite == ("big", "none", "back")
    executor.run({"x": np.float16([1, 2, 3])})
    assert executor.non_finite == ()
    wide = Executor(package, ExecutorSettings("f32"))
    assert wide.run(inputs)["big"].tolist() == [1000, 66000, -66000]
    assert wide.non_finite == ()


def test_a_sum_that_overflows_is_no_overflow() -> None:
    steps = [operation("add", "y", [("fp32", (2,))], x="x", y="x")]
    executor = Executor(
        program({"x": TensorType("fp32", (2,))}, steps, ["y"]), ExecutorSettings("f32")
    )
    executor.run({"x": np.float32([1.6e38, 1.6e38])})
    assert executor.non_finite == ()


def test_one_rounding_for_each_operation() -> None:
    one, tiny = constant(np.float16(1)), constant(np.float16(2**-11))
    steps = [
        operation("add", "half", [("fp16", (3,))], x="x", y=tiny),
        operation("add", "again", [("fp16", (3,))], x="half", y=tiny),
        operation("mul", "same", [("fp16", (3,))], x="again", y=one),
    ]
    package = program({"x": VECTOR}, steps, ["same"])
    inputs = {"x": np.float16([1, 1, 1])}
    assert Executor(package, ExecutorSettings("f64")).run(inputs)["same"][0] == 1 + 2**-10
    # Each sum is a tie and goes to the even neighbour, 1.
    assert Executor(package).run(inputs)["same"].tolist() == [1, 1, 1]


_BITS = """
import hashlib, sys
from pathlib import Path
import numpy as np
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
package = read_package(Path(sys.argv[1]))
executor, digest = Executor(package, ExecutorSettings(sys.argv[2])), hashlib.sha256()
for seed in range(4):
    ids = np.random.default_rng(seed).integers(1, 96, (1, 16)).astype(np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones((1, 16), np.int32)}
    executor.run(inputs, lambda o, n, v: digest.update(v.tobytes()))
print(digest.hexdigest())
"""


@pytest.mark.parametrize(
    ("name", "mode"),
    [("plain-ios16", "f16"), ("plain-ios16", "f16acc"), ("plain-ios16-fp32", "f16")],
)
def test_the_same_bits_with_any_number_of_threads(tmp_path: Path, name: str, mode: str) -> None:
    path = save_more(name, tmp_path)
    digests = set()
    for threads in ("1", "2", "2"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", _BITS, str(path), mode]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        digests.add(done.stdout)
    assert len(digests) == 1
