"""PyTorch → ONNX: the same logits, a lean standard graph, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedModel

from export.reference import LogitsOnly, Reference, reference_from_model
from export.targets import onnx as target
from export.targets import targets
from runtime.errors import UserError

ROOT = Path(__file__).parents[3]
MAX = 64


def build_reference(layers: int = 2) -> Reference:
    torch.manual_seed(7)
    config = DistilBertConfig(
        vocab_size=200, dim=64, n_layers=layers, n_heads=4, hidden_dim=128,
        max_position_embeddings=MAX, num_labels=3,
    )  # fmt: skip
    model = DistilBertForSequenceClassification(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm.w" in name.lower() else 0, std=0.2)
    return reference_from_model(model)


def batch(rows: int, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids and a mask whose rows have different numbers of tokens, the first one all of them."""
    ids = np.random.default_rng(seed).integers(0, 200, (rows, length)).astype(np.int32)
    tokens = np.maximum(1, length - np.arange(rows)[:, None] * length // rows)
    mask = (np.arange(length)[None, :] < tokens).astype(np.int32)
    return ids, mask


def expected(reference: Reference, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def run(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference()


@pytest.fixture(scope="module")
def artifact(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    target.convert(reference, (MAX,), path)
    return path


@pytest.fixture(scope="module")
def graph(artifact: Path) -> onnx.GraphProto:
    return onnx.load(artifact).graph


def test_the_target_is_found_by_its_name() -> None:
    found = targets()["onnx"]
    assert found is target
    assert found.SUFFIX == ".onnx"
    assert found.available() is None


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("length", [1, 7, MAX])
def test_logits_equal_pytorch(reference: Reference, artifact: Path, rows: int, length: int) -> None:
    ids, mask = batch(rows, length)
    want = expected(reference, ids, mask)
    got = run(artifact, ids, mask)
    assert got.shape == (rows, 3)
    assert got.dtype == np.float32
    assert np.abs(got - want).max() < 1e-5 * max(1.0, np.abs(want).max())


def test_logits_tell_texts_apart(reference: Reference, artifact: Path) -> None:
    # Otherwise the comparison above could pass with a graph that ignores its input.
    ids, mask = batch(5, 20)
    got = run(artifact, ids, np.ones_like(mask))
    assert got.std(axis=0).min() > 0.1


def test_padding_changes_nothing(artifact: Path) -> None:
    ids, _ = batch(1, 9)
    alone = run(artifact, ids, np.ones_like(ids))
    padded = np.full((1, MAX), 17, np.int32)
    padded[:, :9] = ids
    mask = (np.arange(MAX)[None, :] < 9).astype(np.int32)
    assert np.abs(run(artifact, padded, mask) - alone).max() < 1e-5
    # The mask is what does it.
    assert np.abs(run(artifact, padded, np.ones_like(mask)) - alone).max() > 1e-2


@pytest.mark.parametrize("layers", [1, 3])
def test_other_depths(layers: int, tmp_path: Path) -> None:
    reference = build_reference(layers)
    target.convert(reference, (MAX,), tmp_path / "m.onnx")
    ids, mask = batch(3, 12)
    got = run(tmp_path / "m.onnx", ids, mask)
    assert np.abs(got - expected(reference, ids, mask)).max() < 1e-5


def test_signature(graph: onnx.GraphProto) -> None:
    def signature(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        kind = value.type.tensor_type
        return value.name, kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim]

    int32, float32 = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    assert [signature(value) for value in graph.input] == [
        ("input_ids", int32, ["batch", "length"]),
        ("attention_mask", int32, ["batch", "length"]),
    ]
    assert [signature(value) for value in graph.output] == [("logits", float32, ["batch", 3])]


def test_graph_is_lean_and_standard(artifact: Path, graph: onnx.GraphProto) -> None:
    model = onnx.load(artifact)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert model.ir_version == 9
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)
    counts: dict[str, int] = {}
    for node in graph.node:
        assert node.domain == ""
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    assert counts["LayerNormalization"] == 1 + 2 * 2
    assert counts["Gelu"] == 2
    assert counts["Softmax"] == 2
    assert counts["MatMul"] == 2 * (6 + 2)
    # The length, for the positions; no other arithmetic on shapes.
    assert counts["Shape"] == 1
    assert not {"Concat", "Erf", "ReduceMean", "Expand", "Where"} & set(counts)


def test_the_last_block_computes_one_position(artifact: Path) -> None:
    model = onnx.load(artifact)
    linears = ("ffn.lin1", "ffn.lin2", "attention.q_lin", "attention.k_lin", "attention.v_lin")
    names = [f"distilbert.transformer.layer.{n}.{lin}/MatMul" for n in (0, 1) for lin in linears]
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids, mask = batch(3, 9)
    tensors = session.run(names, {"input_ids": ids, "attention_mask": mask})
    # Of keys and values a row per head is wanted, whatever the length; the batch is first there.
    shapes = [tensor.shape[:2] for tensor in tensors]
    assert shapes == [(9, 3)] * 5 + [(3, 1)] * 3 + [(3, 4)] * 2


def test_names_follow_the_pytorch_model(reference: Reference, graph: onnx.GraphProto) -> None:
    parameters = {name for name, _ in reference.module.model.named_parameters()}
    stored = {value.name for value in graph.initializer}
    # The same number for every position: softmax leaves it out.
    keys = "distilbert.transformer.layer.1.attention.k_lin"
    assert parameters - stored == {f"{keys}.bias"}
    nodes = [node.name for node in graph.node]
    assert len(set(nodes)) == len(nodes)
    assert "distilbert.transformer.layer.1.ffn.lin1/MatMul" in nodes
    by_name = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    name = "distilbert.transformer.layer.1.ffn.lin1.weight"
    want = reference.module.model.get_parameter(name).numpy().T
    np.testing.assert_array_equal(by_name[name], want)
    # Linear layers are stored [in, out]; this one multiplies from the other side.
    want = reference.module.model.get_parameter(f"{keys}.weight").numpy()
    np.testing.assert_array_equal(by_name[f"{keys}.weight"], want)


def test_nothing_says_where_or_when(artifact: Path, graph: onnx.GraphProto) -> None:
    model = onnx.load(artifact)
    assert (model.producer_name, model.producer_version) == ("mobile-export", "")
    assert not model.metadata_props
    assert not model.doc_string
    assert not graph.doc_string
    assert not graph.metadata_props
    things = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    assert not any(thing.metadata_props or thing.doc_string for thing in things)
    assert not graph.value_info
    data = artifact.read_bytes()
    for trace in (str(ROOT), "site-packages", "torch", ".py", str(Path.home())):
        assert trace.encode() not in data


SCRIPT = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("helpers", sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
reference = helpers.build_reference()
print("BEGIN", file=sys.stderr, flush=True)
helpers.target.convert(reference, (64,), Path("other.onnx"))
print("END", file=sys.stderr, flush=True)
"""


def test_another_process_in_another_folder_makes_the_same_bytes(
    artifact: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, __file__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = artifact.read_bytes(), (tmp_path / "other.onnx").read_bytes()
    assert hashlib.sha256(ours).hexdigest() == hashlib.sha256(theirs).hexdigest()
    # Nor does it chatter.
    assert done.stdout == ""
    assert done.stderr.split("BEGIN\n")[1] == "END\n"


def test_the_reference_is_left_as_it_was(tmp_path: Path) -> None:
    reference = build_reference()
    ids, mask = batch(2, 10)
    before = expected(reference, ids, mask)
    attention = reference.module.model.config._attn_implementation
    target.convert(reference, (MAX,), tmp_path / "m.onnx")
    assert reference.module.model.config._attn_implementation == attention
    np.testing.assert_array_equal(expected(reference, ids, mask), before)


class Odd(LogitsOnly):
    def around(self, model: PreTrainedModel) -> LogitsOnly:
        return type(self)(model)


class Branching(Odd):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if input_ids.sum() > 5:  # a graph cannot look at the data while it is made
            return attention_mask.float()
        return input_ids.float()


class Foreign(Odd):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        ids = input_ids.float() + attention_mask
        return torch.onnx.ops.symbolic("com.example::Twist", (ids,), {}, dtype=1, shape=ids.shape)


@pytest.mark.parametrize(
    ("module", "said"),
    [(Branching, "cannot be expressed in ONNX"), (Foreign, "com.example::Twist")],
)
def test_what_cannot_be_expressed(
    module: type[LogitsOnly], said: str, reference: Reference, tmp_path: Path
) -> None:
    other = Reference(module(reference.module.model), 3, 200, MAX)
    with pytest.raises(UserError) as error:
        target.convert(other, (MAX,), tmp_path / "m.onnx")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
