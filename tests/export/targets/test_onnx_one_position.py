"""The pass that computes only what the classifier reads: exact, and it knows where to stop."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from export.targets.onnx._one_position import keep_one_position

# x is float [batch, length, 4], h is float [batch, 2, length, length].
GRAPH = """
<ir_version: 9, opset_import: ["": 20]>
g (float[batch, length, 4] x, float[batch, 2, length, length] h) => ({outputs})
<float[4, 4] w = {{1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,-7}}, float[4] b = {{1,-2,3,-4}},
 float[4] scale = {{1,2,3,4}}, int64 zero = {{0}}, int64 one = {{1}}, int64 last = {{-1}},
 int64[4] split = {{0,0,2,2}}, int64[3] join = {{0,0,4}}, int64[2] flat = {{0,-1}}>
{{ {body} }}
"""
Y = "float[batch, 4] y"


def build(body: str, outputs: str = Y) -> onnx.ModelProto:
    model = onnx.parser.parse_model(GRAPH.format(body=body, outputs=outputs))
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run(model: onnx.ModelProto, batch: int, length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(batch * 100 + length)
    feed = {
        "x": rng.normal(size=(batch, length, 4)).astype(np.float32),
        "h": rng.normal(size=(batch, 2, length, length)).astype(np.float32),
    }
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})


def shortened(model: onnx.ModelProto) -> tuple[int, onnx.ModelProto]:
    graph = ir.from_proto(model)
    count = keep_one_position(graph.graph)
    proto = ir.to_proto(graph)
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    for batch, length in ((1, 2), (1, 5), (3, 4)):
        for before, after in zip(run(model, batch, length), run(proto, batch, length), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
    return count, proto


def slices(model: onnx.ModelProto) -> list[str]:
    return [node.input[0] for node in model.graph.node if node.op_type == "Slice"]


HEAD = "y = Gather<axis = 1>(z, zero)"


@pytest.mark.parametrize(
    ("body", "count", "sliced"),
    [
        ("z = MatMul(x, w)", 1, ["x"]),
        ("m = MatMul(x, w) a = Add(m, b) g = Gelu(a) z = Relu(g)", 4, ["x"]),
        ("n = LayerNormalization<axis = -1>(x, scale, b) z = Add(n, x)", 2, ["x"]),
        ("z = Softmax<axis = 2>(x)", 1, ["x"]),
        # Heads apart and together again.
        (
            "r = Reshape(x, split) t = Transpose<perm = [0,2,1,3]>(r) v = Relu(t)"
            "u = Transpose<perm = [0,2,1,3]>(v) z = Reshape(u, join)",
            5,
            ["x"],
        ),
        # Attention: one query, all keys and values.
        (
            "q4 = Reshape(x, split) q = Transpose<perm = [0,2,1,3]>(q4)"
            "k = Transpose<perm = [0,2,3,1]>(q4) v = Transpose<perm = [0,2,1,3]>(q4)"
            "s = MatMul(q, k) p = Softmax<axis = -1>(s) c = MatMul(p, v)"
            "o = Transpose<perm = [0,2,1,3]>(c) z = Reshape(o, join)",
            6,
            ["q4"],
        ),
        # Two ways to the same value are one slice.
        ("m = MatMul(x, w) n = MatMul(x, w) z = Add(m, n)", 3, ["x"]),
    ],
)
def test_goes_through(body: str, count: int, sliced: list[str]) -> None:
    found, model = shortened(build(f"{body} {HEAD}"))
    assert found == count
    assert slices(model) == sliced


@pytest.mark.parametrize(
    ("body", "count"),
    [
        # Nothing to shorten: a Slice before the Gather would be in vain.
        ("y = Gather<axis = 1>(x, zero)", 0),
        # Another position, or all of them.
        ("z = MatMul(x, w) y = Gather<axis = 1>(z, one)", 0),
        (
            "axes = Constant<value_ints = [1]>() z = Relu(x) y = ReduceSum<keepdims = 0>(z, axes)",
            0,
        ),
        # Mixes positions.
        (f"z = Softmax<axis = 1>(x) {HEAD}", 0),
        (f"t = Transpose<perm = [0,2,1]>(x) s = MatMul(x, t) z = MatMul(s, x) {HEAD}", 2),
        (f"n = CumSum(x, one) z = Relu(n) {HEAD}", 1),
        (f"n = LayerNormalization<axis = 1>(x, scale, b) z = Relu(n) {HEAD}", 1),
        # Concatenation along the axis is not row by row.
        (f"c = Concat<axis = 1>(x, x) z = Relu(c) {HEAD}", 1),
    ],
)
def test_stops(body: str, count: int) -> None:
    found, model = shortened(build(body))
    assert found == count
    assert len(slices(model)) == (1 if count else 0)


@pytest.mark.parametrize("index", ["zero", "last"])
def test_the_last_position_as_well_as_the_first(index: str) -> None:
    body = (
        "q4 = Reshape(x, split) q = Transpose<perm = [0,2,1,3]>(q4)"
        "k = Transpose<perm = [0,2,3,1]>(q4) v = Transpose<perm = [0,2,1,3]>(q4)"
        "s = MatMul(q, k) p = Softmax<axis = -1>(s) c = MatMul(p, v)"
        f"o = Transpose<perm = [0,2,1,3]>(c) z = Reshape(o, join) y = Gather<axis = 1>(z, {index})"
    )
    found, model = shortened(build(body))
    assert (found, slices(model)) == (6, ["q4"])


def test_the_first_of_one_and_the_last_of_another_are_not_the_same() -> None:
    body = (
        "m = Relu(x) first = Gather<axis = 1>(m, zero) final = Gather<axis = 1>(m, last)"
        "y = Add(first, final)"
    )
    found, model = shortened(build(body))
    assert (found, slices(model)) == (0, [])


def test_the_batch_axis_is_nobody_elses() -> None:
    # Index 0 of axis 0 is one text, and a flattened product mixes nothing: it may be shortened.
    body = "m = MatMul(x, w) y = Gather<axis = 0>(m, zero)"
    found, model = shortened(build(body, "float[length, 4] y"))
    assert found == 0
    assert slices(model) == []


def test_a_value_that_others_read_in_full_is_computed_in_full() -> None:
    body = f"m = MatMul(x, w) a = Relu(m) z = Add(a, b) {HEAD} whole = ReduceMax(m)"
    found, model = shortened(build(body, f"{Y}, float[p, q, r] whole"))
    assert found == 2  # Add and Relu, not the MatMul
    assert slices(model) == ["m"]


def test_an_output_of_the_graph_keeps_its_length() -> None:
    body = f"m = MatMul(x, w) z = Relu(m) {HEAD}"
    found, model = shortened(build(body, f"{Y}, float[batch, length, 4] m"))
    assert found == 1
    assert slices(model) == ["m"]


def test_a_flattened_axis_is_another_axis() -> None:
    body = f"f = Reshape(x, flat) z = Relu(f) {HEAD}"
    found, model = shortened(build(body, "float[batch] y"))
    assert found == 1
    assert slices(model) == ["f"]


@pytest.mark.parametrize(
    ("mask", "sliced"),
    [
        ("n = Identity(h)", ["n", "q"]),
        # One row for all positions needs no cutting.
        ("axes = Constant<value_ints = [1, 2]>() n = ReduceMax(h, axes)", ["q"]),
    ],
)
def test_the_mask(mask: str, sliced: list[str]) -> None:
    body = (
        f"{mask} "
        "q4 = Reshape(x, split) q = Transpose<perm = [0,2,1,3]>(q4)"
        "k = Transpose<perm = [0,2,3,1]>(q4) s = MatMul(q, k) m = Add(s, n)"
        "p = Softmax<axis = -1>(m) c = MatMul(p, q)"
        f"o = Transpose<perm = [0,2,1,3]>(c) z = Reshape(o, join) {HEAD}"
    )
    found, model = shortened(build(body))
    assert found == 6
    assert sorted(slices(model)) == sliced
