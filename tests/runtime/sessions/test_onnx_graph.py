"""Reading nodes and tensors of ONNX files: what the onnx package reads, or a plain refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import UserError
from runtime.sessions.onnx_graph import open_graph, read_graph

TENSORS = [
    # As numbers of their own kind …
    helper.make_tensor("float", TensorProto.FLOAT, [2], [1.5, -2]),
    helper.make_tensor("int8", TensorProto.INT8, [3], [-1, -128, 127]),
    helper.make_tensor("uint8", TensorProto.UINT8, [1, 2], [0, 255]),
    helper.make_tensor("half", TensorProto.FLOAT16, [2], [1.5, -2]),
    helper.make_tensor("int64", TensorProto.INT64, [2, 1], [-5, 1 << 40]),
    helper.make_tensor("double", TensorProto.DOUBLE, [], [2.5]),
    helper.make_tensor("uint64", TensorProto.UINT64, [1], [1 << 63]),
    helper.make_tensor("bool", TensorProto.BOOL, [2], [True, False]),
    helper.make_tensor("none", TensorProto.FLOAT, [0], []),
    # … and as a row of bytes.
    numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "raw"),
    numpy_helper.from_array(np.array(7, np.int32), "raw scalar"),
    numpy_helper.from_array(np.zeros((0, 3), np.int8), "raw none"),
]


def model(tensors: list[TensorProto]) -> bytes:
    inside = numpy_helper.from_array(np.float32(3))
    nodes = [
        helper.make_node("Constant", [], ["three"], name="const", value=inside),
        helper.make_node("Gemm", ["x", "", "three"], ["y"], domain="ai.onnx", transB=1, alpha=2.0),
    ]
    graph = helper.make_graph(nodes, "g", [], [], initializer=tensors)
    return bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda t: t.name)
def test_every_way_to_store_a_tensor(tensor: TensorProto) -> None:
    found = read_graph(model(TENSORS), "m").stored[tensor.name]
    expected = numpy_helper.to_array(tensor)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert (found == expected).all()


def test_nodes() -> None:
    graph = read_graph(model([]), "m")
    constant, gemm = graph.nodes
    assert (constant.name, constant.kind, constant.outputs) == ("const", "Constant", ("three",))
    assert (gemm.domain, gemm.inputs, gemm.numbers) == (
        "ai.onnx",
        ("x", "", "three"),
        {"transB": 1},
    )
    assert graph.constants() == {"three/value": np.float32(3)}


def test_weights_are_views_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model(TENSORS))
    weight = open_graph(tmp_path / "m.onnx").stored["raw"]
    assert not weight.flags.owndata
    assert not weight.flags.writeable
    assert weight.tolist() == [[0, 1, 2], [3, 4, 5]]


def broken(kind: str) -> bytes:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    match kind:
        case "shape":
            tensor.dims[0] = 5
        case "bytes":
            tensor.raw_data = tensor.raw_data[:-1]
        case "type":
            tensor.data_type = TensorProto.STRING
        case "cut":
            return model([tensor])[:-3]
        case "sparse":
            made = onnx.load_from_string(model([tensor]))
            values = numpy_helper.from_array(np.ones(1, np.float32), "s")
            indices = numpy_helper.from_array(np.zeros(1, np.int64))
            made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [9]))
            return bytes(made.SerializeToString())
    return model([tensor])


@pytest.mark.parametrize("kind", ["shape", "bytes", "type", "cut", "sparse"])
def test_what_cannot_be_read_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(broken(kind))
    with pytest.raises(UserError, match=r"m\.onnx"):
        open_graph(tmp_path / "m.onnx")


def test_a_missing_and_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    for name in ("none.onnx", "empty.onnx"):
        with pytest.raises(UserError, match="cannot be read"):
            open_graph(tmp_path / name)
