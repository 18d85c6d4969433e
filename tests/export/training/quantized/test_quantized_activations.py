"""The fake quantizers against the runtimes themselves: onnxruntime's operator, LiteRT's kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.training.quantized import activations
from export.training.quantized.activations import per_text, per_token

Floats = npt.NDArray[np.float32]


@cache
def dynamic_quantize_linear() -> Any:
    """x → codes, scale and zero point, by onnxruntime."""
    make = onnx.helper
    kinds = {"q": onnx.TensorProto.UINT8, "s": onnx.TensorProto.FLOAT, "z": onnx.TensorProto.UINT8}
    graph = make.make_graph(
        [make.make_node("DynamicQuantizeLinear", ["x"], list(kinds))],
        "one",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, None])],
        [
            make.make_tensor_value_info(name, kind, [None, None] if name == "q" else [])
            for name, kind in kinds.items()
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def by_onnxruntime(x: Floats) -> Floats:
    codes, scale, zero = dynamic_quantize_linear().run(None, {"x": x})
    return np.asarray((codes.astype(np.int32) - int(zero)).astype(np.float32) * scale)


@cache
def identity_layer(rows: int, channels: int) -> Any:
    """A FULLY_CONNECTED whose weight is the identity in int8: it gives back its rounded input."""
    model = schema.ModelT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 12
    model.operatorCodes = [code]
    ones = schema.QuantizationParametersT()
    ones.scale, ones.zeroPoint = np.ones(channels, np.float32), np.zeros(channels, np.int64)
    layer = schema.SubGraphT()
    layer.tensors = []
    float32, int8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
    for name, shape, kind, buffer in (
        ("x", [rows, channels], float32, 0),
        ("w", [channels, channels], int8, 1),
        ("y", [rows, channels], float32, 0),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
        tensor.quantization = ones if kind == int8 else None
        layer.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    layer.operators, layer.inputs, layer.outputs = [operator], [0], [2]
    model.subgraphs = [layer]
    weight = schema.BufferT()
    weight.data = np.eye(channels, dtype=np.int8).reshape(-1).view(np.uint8)
    model.buffers = [schema.BufferT(), weight]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def by_litert(x: Floats) -> Floats:
    interpreter = identity_layer(*x.shape)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    result: Floats = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def inputs(seed: int) -> Floats:
    """Numbers of all sizes; some all positive, all negative, with an outlier, or zero."""
    chance = np.random.default_rng(seed)
    x = chance.standard_normal((5, 32)) * 10 ** chance.uniform(-4, 3)
    x += float(chance.choice([0.0, 0.0, 5.0, -5.0]))
    if seed % 5 == 0:
        x[2, 7] *= 300
    if seed % 7 == 0:
        x[0] = 0.0
    if seed == 14:
        x[:] = 0.0
    return x.astype(np.float32)


def texts(x: Floats) -> Floats:
    return per_text(torch.from_numpy(x)[None])[0].numpy()


def tokens(x: Floats) -> Floats:
    return per_token(torch.from_numpy(x)).numpy()


PAIRS = [
    pytest.param(texts, by_onnxruntime, id="onnxruntime"),
    pytest.param(tokens, by_litert, id="litert"),
]
Rounding = Callable[[Floats], Floats]


@pytest.mark.parametrize(("ours", "runtime"), PAIRS)
def test_the_runtimes_numbers_to_the_last_bit(ours: Rounding, runtime: Rounding) -> None:
    for seed in range(500):
        x = inputs(seed)
        np.testing.assert_array_equal(ours(x), runtime(x), err_msg=f"seed {seed}")


@pytest.mark.parametrize(("ours", "runtime"), PAIRS)
@pytest.mark.parametrize("steps", [254, 256])
def test_a_range_that_is_off_by_one_code_is_seen(
    ours: Rounding, runtime: Rounding, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault."""
    monkeypatch.setattr(activations, "_STEPS", steps)
    wrong = [not np.array_equal(ours(inputs(seed)), runtime(inputs(seed))) for seed in range(20)]
    assert sum(wrong) > 15


def test_each_text_has_a_range_of_its_own_and_padding_has_no_part_in_it() -> None:
    x = torch.from_numpy(np.stack([inputs(1), inputs(2)]))
    counts = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    padded = x.clone()
    padded[1, 3:] = 1e6
    found = per_text(padded, counts)
    np.testing.assert_array_equal(found[0].numpy(), by_onnxruntime(x[0].numpy()))
    np.testing.assert_array_equal(found[1, :3].numpy(), by_onnxruntime(x[1, :3].numpy()))


@pytest.mark.parametrize("rounding", [per_text, per_token])
def test_gradients_pass_as_if_nothing_was_rounded(rounding: Any) -> None:
    x = torch.from_numpy(inputs(3)[None]).requires_grad_(True)
    towards = torch.from_numpy(inputs(4)[None])
    (rounding(x) * towards).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, towards)
