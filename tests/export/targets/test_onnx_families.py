"""ONNX of every family: PyTorch's logits, lean graphs, shared layers stored once, int8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification

from export.families import families
from export.recipes import recipes
from export.reference import Reference, reference_from_model
from export.targets import onnx as target
from export.targets.base import ArtifactMetadata, Job, Source
from export.targets.precision import check_precision
from export.training.model import new_model
from runtime.manifest import TaskSpec

from support import TINY, weather_rows

FAMILIES = families()
# The ones that differ most; DistilBERT is in every other test of the target.
FAST = ("albert", "bert", "mobilebert", "xlnet")
EVERY = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow, id=name) for name in FAMILIES
]
LABELS = ("rainy", "snowy", "sunny")
TEXTS = [text for text, _ in weather_rows()][:200]
MAX = 32
Ids = npt.NDArray[np.int32]


def _reference(name: str) -> Reference:
    """Random weights, large enough that every part of the model shows in the logits."""
    torch.manual_seed(4)
    model, _ = new_model(FAMILIES[name], TINY, TEXTS, LABELS, max_length=MAX)
    for key, parameter in model.named_parameters():
        is_scale = "norm" in key.lower() and key.endswith("weight")
        torch.nn.init.normal_(parameter, mean=1.0 if is_scale else 0.0, std=0.2)
    return reference_from_model(model)


def _batch(rows: int, length: int, side: str) -> tuple[Ids, Ids]:
    ids = np.random.default_rng(length).integers(0, 60, (rows, length)).astype(np.int32)
    tokens = np.maximum(1, length - np.arange(rows)[:, None] * length // rows)
    mask = (np.arange(length)[None, :] < tokens).astype(np.int32)
    return ids, mask if side == "right" else mask[:, ::-1].copy()


class _Made(dict[str, tuple[Reference, Path]]):
    """Each family's reference and file, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> tuple[Reference, Path]:
        self[name] = reference, path = _reference(name), self._folder / f"{name}.onnx"
        target.convert(reference, (MAX,), path)
        return self[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Reference, Path]]:
    return _Made(tmp_path_factory.mktemp("onnx_families"))


def _run(path: Path, ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


@pytest.mark.parametrize("name", EVERY)
def test_logits_equal_pytorch(name: str, made: dict[str, tuple[Reference, Path]]) -> None:
    reference, path = made[name]
    for rows, length in ((1, 1), (1, 7), (5, MAX)):
        ids, mask = _batch(rows, length, reference.family.pad_side)
        want = reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        got = _run(path, ids, mask)
        assert got.shape == (rows, 3)
        assert np.abs(got - want).max() < 1e-5 * max(1.0, np.abs(want).max())
    assert got.std(axis=0).min() > 0.01  # texts are told apart


@pytest.mark.parametrize("name", EVERY)
def test_padding_changes_nothing(name: str, made: dict[str, tuple[Reference, Path]]) -> None:
    reference, path = made[name]
    ids, _ = _batch(1, 9, "right")
    alone = _run(path, ids, np.ones_like(ids))
    padded, mask = np.full((1, MAX), 17, np.int32), np.zeros((1, MAX), np.int32)
    place = slice(9) if reference.family.pad_side == "right" else slice(MAX - 9, None)
    padded[:, place], mask[:, place] = ids, 1
    assert np.abs(_run(path, padded, mask) - alone).max() < 1e-5
    assert np.abs(_run(path, padded, np.ones_like(mask)) - alone).max() > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_the_graph_is_lean(name: str, made: dict[str, tuple[Reference, Path]]) -> None:
    reference, path = made[name]
    graph = onnx.load(path).graph
    operators = Counter(node.op_type for node in graph.node)
    # Ids look up words; the other Gather takes the position that is classified.
    assert operators["Gather"] == 2
    assert operators["Softmax"] == TINY.layers
    assert not {"Einsum", "Where", "If", "Loop", "Pow", "Erf", "ScatterND"} & set(operators)
    known = {name for name, _ in reference.module.model.named_parameters()}
    stored = sum(int(np.prod(tensor.dims)) * 4 for tensor in graph.initializer)
    assert path.stat().st_size < 1.02 * stored + 60_000
    if name != "xlnet":  # whose attention is stored as matrices
        big = {t.name for t in graph.initializer if np.prod(t.dims) >= 256}
        assert big <= known


@pytest.mark.parametrize("name", [each for each in EVERY if each.id != "xlnet"])
def test_position_and_segment_ids_are_not_computed(
    name: str, made: dict[str, tuple[Reference, Path]]
) -> None:
    graph = onnx.load(made[name][1]).graph
    sliced = {node.input[0].rpartition(".embeddings.")[2] for node in graph.node
              if node.op_type == "Slice" and ".embeddings." in node.input[0]}  # fmt: skip
    assert "position_embeddings.weight" in sliced
    assert ("token_type_embeddings.weight" in sliced) == FAMILIES[name].has_token_types
    assert not {"Range", "Expand"} & {node.op_type for node in graph.node}


def test_alberts_layers_are_stored_once(made: dict[str, tuple[Reference, Path]]) -> None:
    reference, path = made["albert"]
    parameters = sum(p.numel() for p in reference.module.model.parameters())
    assert path.stat().st_size < 4 * parameters + 40_000
    products = [n for n in onnx.load(path).graph.node if n.op_type == "MatMul"]
    inner = [node.input[1] for node in products if node.input[1].endswith(".ffn.weight")]
    assert len(inner) == TINY.layers
    assert len(set(inner)) == 1
    gelus = [node for node in onnx.load(path).graph.node if node.op_type == "Gelu"]
    assert {node.attribute[0].s for node in gelus} == {b"tanh"}
    activation: Any = reference.module.model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    assert type(activation.activation).__name__ == "NewGELUActivation"  # put back


def test_large_shared_matrices_are_stored_as_they_are_read(tmp_path: Path) -> None:
    """From some size on the exporter leaves a Transpose before every use of a shared matrix."""
    torch.manual_seed(6)
    config = AlbertConfig(
        vocab_size=60, embedding_size=16, hidden_size=320, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=640, hidden_act="gelu_new",
        max_position_embeddings=MAX, num_labels=3,
    )  # fmt: skip
    reference = reference_from_model(AlbertForSequenceClassification(config))
    path = tmp_path / "model.onnx"
    target.convert(reference, (MAX,), path)
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    turned = [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in stored]
    assert turned == []
    parameters = sum(p.numel() for p in reference.module.model.parameters())
    assert path.stat().st_size < 4 * parameters + 60_000
    ids, mask = _batch(3, MAX, "right")
    want = reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert np.abs(_run(path, ids, mask) - want).max() < 1e-5
    small = tmp_path / "model_int8.onnx"
    target.quantize(path, recipes("onnx")["int8"], small)
    job = _job(reference, "int8", tmp_path)
    check_precision(target.describe(small), job.recipe, small.name)
    assert small.stat().st_size < 1.1 * parameters + 60_000
    assert set(target.effective(small, job).tensors) == set(reference.module.model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xlnet", "albert", "mobilebert"])
def test_the_same_bytes_again(
    name: str, made: dict[str, tuple[Reference, Path]], tmp_path: Path
) -> None:
    target.convert(_reference(name), (MAX,), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == made[name][1].read_bytes()


def _job(reference: Reference, recipe: str, scratch: Path) -> Job:
    task = TaskSpec("single_label", "softmax", LABELS)
    metadata = ArtifactMetadata("x", "", "", "", "", "")
    source = Source(reference, (MAX,), task, 0, metadata)
    return Job(source, recipes("onnx")[recipe], {}, scratch)


@pytest.mark.parametrize("recipe", ["float32", "int8", "int8_avx2"])
@pytest.mark.parametrize("name", EVERY)
def test_every_weight_is_what_the_recipe_makes_of_it(
    name: str, recipe: str, made: dict[str, tuple[Reference, Path]], tmp_path: Path
) -> None:
    reference, floats = made[name]
    job = _job(reference, recipe, tmp_path)
    path = floats
    if recipe != "float32":
        path = tmp_path / "q.onnx"
        target.quantize(floats, job.recipe, path)
    check_precision(target.describe(path), job.recipe, path.name)
    effective = target.effective(path, job)
    state = reference.module.model.state_dict()
    assert set(effective.tensors) == set(state)
    changed = set()
    for key, values in effective.tensors.items():
        original = state[key].numpy()
        assert values.shape == original.shape, key
        if not np.array_equal(values, original):
            changed.add(key)
            assert np.abs(values - original).max() < 0.02 * np.abs(original).max()
    linear = {key for key in state if key.endswith((".query.weight", ".q_lin.weight", ".q"))}
    assert linear
    assert linear <= changed if recipe != "float32" else not changed


def test_int8_of_shared_layers_is_stored_once(
    made: dict[str, tuple[Reference, Path]], tmp_path: Path
) -> None:
    reference, floats = made["albert"]
    path = tmp_path / "q.onnx"
    target.quantize(floats, recipes("onnx")["int8"], path)
    parameters = sum(p.numel() for p in reference.module.model.parameters())
    assert path.stat().st_size < 1.2 * parameters + 45_000
    ids, mask = _batch(4, MAX, "right")
    got, want = _run(path, ids, mask), _run(floats, ids, mask)
    assert np.abs(got - want).max() < 0.2 * want.std() + 0.1
