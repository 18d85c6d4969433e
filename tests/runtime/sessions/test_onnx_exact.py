"""Exact arithmetic: the same graph without rounded activations; unknown integers are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.recipes import recipes
from export.reference import reference_from_model
from export.targets import onnx as target
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, StoredWeight, WeightsSummary
from runtime.parity.metrics import root_mean_square
from runtime.sessions import SessionSettings, open_session
from runtime.sessions.base import ExactTappingSession, WeighingSession
from runtime.sessions.onnx_exact import exact_model

from support import seeded_classifier

Edit = Callable[[onnx.GraphProto], object]


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = seeded_classifier(6)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    target.convert(reference_from_model(model), (64,), path)
    return path


@pytest.fixture(scope="module")
def int8(floats: Path) -> Path:
    path = floats.with_name("model_int8.onnx")
    target.quantize(floats, recipes("onnx")["int8"], path)
    return path


def feed() -> dict[str, np.ndarray]:
    ids = np.random.default_rng(3).integers(0, 200, (1, 24)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def run(data: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, feed())[0]


def dequantized(path: Path) -> bytes:
    """The same by other means: whole activations are kept, with the integers' own nodes."""
    model = onnx.load(path)
    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "DynamicQuantizeLinear":
            source, (codes, scale, _) = node.input[0], node.output
            graph.initializer.append(numpy_helper.from_array(np.float32(1), scale))
            for reader in graph.node:
                if reader.op_type == "MatMulInteger" and reader.input[0] == codes:
                    weight = numpy_helper.to_array(stored[reader.input[1]]).astype(np.float32)
                    dense = f"{reader.output[0]}/weight"
                    graph.initializer.append(numpy_helper.from_array(weight, dense))
                    reader.op_type = "MatMul"
                    reader.input[:] = [source, dense]
            graph.node.remove(node)
    return bytes(model.SerializeToString())


def test_a_float_file_is_exact_as_it_is(floats: Path) -> None:
    assert exact_model(floats.read_bytes(), "m") is None


def test_only_the_rounding_is_left_out(int8: Path) -> None:
    data = exact_model(int8.read_bytes(), "m")
    assert data is not None
    onnx.checker.check_model(data, full_check=True)
    np.testing.assert_allclose(run(data), run(dequantized(int8)), atol=1e-5)
    assert np.abs(run(data) - run(int8.read_bytes())).max() > 1e-3


def test_everything_else_stays(int8: Path) -> None:
    before = onnx.load(int8)
    data = exact_model(int8.read_bytes(), "m")
    assert data is not None
    after = onnx.load_from_string(data)
    quantizers = [n for n in before.graph.node if n.op_type == "DynamicQuantizeLinear"]
    products = [n for n in before.graph.node if n.op_type == "MatMulInteger"]
    replaced = {n.output[0] for n in (*quantizers, *products)}
    kept = [n for n in before.graph.node if n.output[0] not in replaced]
    assert [n for n in after.graph.node if n in kept] == kept
    new = Counter(n.op_type for n in after.graph.node if n not in kept)
    assert new == {"Identity": len(quantizers), "MatMul": len(products), "Cast": len(products)}
    stored = list(before.graph.initializer)
    assert [t for t in after.graph.initializer if t in stored] == stored
    assert len(after.graph.initializer) == len(stored) + len(quantizers)
    del after.graph.node[:], after.graph.initializer[:]
    del before.graph.node[:], before.graph.initializer[:]
    assert after == before


def first(graph: onnx.GraphProto, kind: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.op_type == kind)


def _scale_of_another(graph: onnx.GraphProto) -> None:
    quantizers = [n for n in graph.node if n.op_type == "DynamicQuantizeLinear"]
    for node in graph.node:
        node.input[:] = [
            quantizers[1].output[1] if name == quantizers[0].output[1] else name
            for name in node.input
        ]


def _zero_of_another(graph: onnx.GraphProto) -> None:
    quantizers = [n for n in graph.node if n.op_type == "DynamicQuantizeLinear"]
    first(graph, "MatMulInteger").input[2] = quantizers[-1].output[2]


def _no_zero(graph: onnx.GraphProto) -> None:
    del first(graph, "MatMulInteger").input[2]


def _unscaled(graph: onnx.GraphProto) -> None:
    cast = first(graph, "MatMulInteger").output[0] + "/seen"
    graph.node.append(helper.make_node("Cast", [first(graph, "MatMulInteger").output[0]], [cast],
                                       to=TensorProto.INT64))  # fmt: skip


def _codes_read(graph: onnx.GraphProto) -> None:
    codes = first(graph, "DynamicQuantizeLinear").output[0]
    graph.node.append(helper.make_node("Cast", [codes], ["seen"], to=TensorProto.FLOAT))


def _static(graph: onnx.GraphProto) -> None:
    for name, value in (("s", np.float32(0.1)), ("z", np.uint8(3))):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    graph.node.append(helper.make_node("QuantizeLinear", ["Relu", "s", "z"], ["seen"]))


def _foreign(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("FusedThing", ["Relu"], ["seen"], domain="com.example"))


@pytest.mark.parametrize(
    "edit",
    [
        _scale_of_another,
        _zero_of_another,
        _no_zero,
        _unscaled,
        _codes_read,
        _static,
        _foreign,
    ],
)
def test_unknown_integers_are_refused(edit: Edit, int8: Path) -> None:
    model = onnx.load(int8)
    edit(model.graph)
    with pytest.raises(UserError, match="exact arithmetic"):
        exact_model(model.SerializeToString(), "m.onnx")


def test_integer_weights_made_float_in_the_graph_are_exact() -> None:
    """DequantizeLinear rounds nothing: such a file runs as it is."""
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["w", "s"], ["y"])], "g", [], [],
        initializer=[numpy_helper.from_array(np.ones(3, np.int8), "w"),
                     numpy_helper.from_array(np.float32(2), "s")],
    )  # fmt: skip
    assert exact_model(helper.make_model(graph).SerializeToString(), "m") is None


def session_of(path: Path, listed: tuple[str, ...] = ()) -> ExactTappingSession:
    found = target.describe(path)
    weights = (StoredWeight(name, (), "", "", 0.0, None) for name in listed)
    spec = ArtifactSpec(
        path=path.name, format="onnx", recipe="", precision="", bytes=0, sha256="",
        inputs=found.inputs, outputs=found.outputs, lengths=None, minimum_runtime={},
        weights=WeightsSummary({}, (), tuple(weights)), gate="unknown",
    )  # fmt: skip
    session = open_session(path, spec, SessionSettings(vocab_size=200))
    assert isinstance(session, ExactTappingSession)
    return session


@pytest.mark.parametrize("which", ["floats", "int8"])
def test_inside_of_an_exact_run(which: str, request: pytest.FixtureRequest) -> None:
    session = session_of(request.getfixturevalue(which))
    exact = session.run_exact(**feed())
    tapped = session.tap_exact(**feed())
    assert np.abs(tapped.logits - exact).max() <= 1e-5 * root_mean_square(exact)
    # Weights are no intermediate results, in whatever form.
    stored = [tap.name for tap in tapped.operations if not tap.inputs]
    assert stored == []
    kinds = {tap.kind for tap in tapped.operations}
    assert "MatMul" in kinds
    assert not kinds & {"MatMulInteger", "DynamicQuantizeLinear"}


def test_ids_are_checked_in_exact_runs_as_well(int8: Path) -> None:
    session = session_of(int8)
    wrong = np.full((1, 3), 200, np.int32)
    for way in (session.run_exact, session.tap_exact):
        with pytest.raises(UserError, match="vocabulary"):
            way(wrong, np.ones_like(wrong))


def test_a_refused_file_still_runs_as_it_is(int8: Path, tmp_path: Path) -> None:
    model = onnx.load(int8)
    _static(model.graph)
    onnx.save(model, tmp_path / "m.onnx")
    session = session_of(tmp_path / "m.onnx")
    assert np.isfinite(session.run(**feed())).all()
    with pytest.raises(UserError, match=r"m\.onnx cannot be run in exact arithmetic"):
        session.run_exact(**feed())


def test_digests_are_of_the_listed_names_and_the_rest(int8: Path) -> None:
    described = {w.name: w.sha256 for w in target.describe(int8).weights}
    session = session_of(int8, tuple(described))
    assert isinstance(session, WeighingSession)
    assert session.weight_digests() == described
