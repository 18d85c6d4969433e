"""The parameters read back from an ONNX file; the graph apart from its weights' precision."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from coreml_support import coreml_job, lively_classifier, padded_batch, torch_logits
from onnx import helper, numpy_helper

from export.artifacts import effective_reference
from export.recipes import Recipe, recipes
from export.reference import reference_from_model
from export.targets import onnx as target
from export.targets.base import Job
from export.targets.precision import summarise
from runtime.constants_digest import REST_NAME
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec
from runtime.sessions import SessionSettings, open_session
from runtime.sessions.base import ExactSession, WeighingSession

GRAPH_GATE = 1e-4
WORDS = "distilbert.embeddings.word_embeddings.weight"
INNER = "distilbert.transformer.layer.0.ffn.lin1.weight"
LAST_KEY = "distilbert.transformer.layer.1.attention.k_lin.weight"
RECIPES = recipes("onnx")
# One with blocks stands for all: the others are made of the same parts.
JUDGED = ("float32", "int8", "int8_avx2", "int4_int4emb")

Edit = Callable[[onnx.GraphProto], None]


def job_of(recipe: Recipe) -> Job:
    return dataclasses.replace(coreml_job(), recipe=_small_blocks(recipe), options={})


def _small_blocks(recipe: Recipe) -> Recipe:
    """Blocks of 16, into which the model's 48 columns can be divided."""
    linear, embedding = (
        dataclasses.replace(rule, block=16) if rule.block else rule
        for rule in (recipe.linear, recipe.embedding)
    )
    return dataclasses.replace(recipe, linear=linear, embedding=embedding)


@pytest.fixture(scope="module", params=JUDGED)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Job]:
    folder = tmp_path_factory.mktemp("onnx")
    job = dataclasses.replace(job_of(RECIPES[request.param]), scratch=folder)
    target.make(job, folder / job.recipe.file)
    return folder / job.recipe.file, job


def session_of(path: Path, sound: Path | None = None) -> ExactSession:
    """A session; `sound` is the file that the manifest was written from."""
    found = target.describe(sound or path)
    spec = ArtifactSpec(
        path=path.name, format="onnx", recipe="", precision="", bytes=0, sha256="",
        inputs=found.inputs, outputs=found.outputs, lengths=None, minimum_runtime={},
        weights=summarise(found), gate="unknown",
    )  # fmt: skip
    session = open_session(path, spec, SessionSettings())
    assert isinstance(session, ExactSession)
    return session


def changed(path: Path, sound: Path) -> set[str]:
    session = session_of(path, sound)
    assert isinstance(session, WeighingSession)
    promised = {w.name: w.sha256 for w in target.describe(sound).weights}
    found = session.weight_digests()
    return {name for name, sha256 in promised.items() if found.get(name) != sha256}


def graph_difference(path: Path, sound: Path, job: Job) -> float:
    """Largest difference of a logit between a file and PyTorch on the sound file's weights."""
    module = effective_reference(job.source.reference, target.effective(sound, job)).module
    session, worst = session_of(path, sound), 0.0
    for length in (1, 5, 32):
        ids, mask = padded_batch(length)
        difference = session.run_exact(ids, mask) - torch_logits(module, ids, mask)
        worst = float(np.maximum(worst, np.abs(difference).max()))
    return worst


def test_a_sound_file(made: tuple[Path, Job]) -> None:
    path, job = made
    effective = target.effective(path, job)
    state = job.source.reference.module.model.state_dict()
    assert effective.tensors.keys() == state.keys()
    assert effective.layer_norm_eps == float(np.float32(1e-12))
    for name, original in state.items():
        stored = effective.tensors[name]
        assert stored.dtype == np.float32
        if job.recipe.name == "float32" or original.dim() < 2 or len(original) < 16:
            np.testing.assert_array_equal(stored, original.numpy())
        else:
            steps = 64 if job.recipe.linear.reduce_range and "embeddings" not in name else 127
            steps = 7 if job.recipe.precision == "int4" else steps
            # The last block multiplies queries by its keys' matrix, which is stored the other way.
            axis = 0 if name == LAST_KEY else 1
            peaks = original.abs().amax(axis, keepdim=True).numpy()
            assert (np.abs(stored - original.numpy()) <= 0.501 * peaks / steps).all()
            assert (stored != original.numpy()).any()
    assert changed(path, path) == set()
    assert graph_difference(path, path, job) <= 2e-5


def test_exact_arithmetic_is_not_the_file_as_it_runs(made: tuple[Path, Job]) -> None:
    """Float files run as they are; int8 ones lose what rounding activations does."""
    path, job = made
    session = session_of(path)
    ids, mask = padded_batch(24)
    rounding = np.abs(session.run_exact(ids, mask) - session.run(ids, mask)).max()
    assert rounding == 0 if job.recipe.name == "float32" else rounding > 100 * GRAPH_GATE / 10


# --- equal parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_equal_parameters_are_stored_once(tmp_path: Path, name: str) -> None:
    """As in a fresh model, where biases are zeros: each still gets its values."""
    model = lively_classifier()
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    job = job_of(RECIPES[name])
    source = dataclasses.replace(job.source, reference=reference_from_model(model))
    job = dataclasses.replace(job, source=source, scratch=tmp_path)
    path = tmp_path / job.recipe.file
    target.make(job, path)
    biases = {key for key in model.state_dict() if key.endswith("bias")}
    assert len(biases & {v.name for v in onnx.load(path).graph.initializer}) < len(biases) / 2
    assert target.effective(path, job).tensors.keys() == model.state_dict().keys()
    assert graph_difference(path, path, job) <= 2e-5


# --- weights that are not the recipe's ----------------------------------------------------------


def array_of(graph: onnx.GraphProto, start: str) -> tuple[onnx.TensorProto, np.ndarray]:
    """The first stored tensor whose name starts so: the codes, of an int8 weight."""
    tensor = next(t for t in graph.initializer if t.name.startswith(start))
    return tensor, numpy_helper.to_array(tensor).copy()


def change(start: str, edit: Callable[[np.ndarray], None]) -> Edit:
    def apply(graph: onnx.GraphProto) -> None:
        tensor, array = array_of(graph, start)
        edit(array)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return apply


def edited(path: Path, edit: Edit, folder: Path) -> Path:
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, folder / path.name)
    return folder / path.name


def _one_step(array: np.ndarray) -> None:
    array.flat[7] += 1 if array.dtype.kind in "iu" else 1e-6


def _drop_row(array: np.ndarray) -> None:
    array[-1] = 0


def _swap_rows(array: np.ndarray) -> None:
    array[[0, 1]] = array[[1, 0]]


@pytest.mark.parametrize("edit", [_one_step, _drop_row, _swap_rows])
@pytest.mark.parametrize("weight", [WORDS, INNER])
def test_one_wrong_element_is_refused_and_shows(
    made: tuple[Path, Job], weight: str, edit: Callable[[np.ndarray], None], tmp_path: Path
) -> None:
    path, job = made
    bad = edited(path, change(weight, edit), tmp_path)
    with pytest.raises(UserError, match=weight):
        target.effective(bad, job)
    (name,) = changed(bad, path)
    assert name.startswith(weight)


def _scaled(array: np.ndarray) -> None:
    array *= np.float32(1.001)


def _poisoned(array: np.ndarray) -> None:
    array.flat[0] = np.nan


@pytest.mark.parametrize("edit", [_scaled, _poisoned])
@pytest.mark.parametrize("scales", [f"{WORDS}/row_scales", f"{INNER}/scales"])
def test_a_wrong_scale_is_refused_and_shows(
    scales: str, edit: Callable[[np.ndarray], None], int8: tuple[Path, Job], tmp_path: Path
) -> None:
    path, job = int8
    bad = edited(path, change(scales, edit), tmp_path)
    with pytest.raises(UserError, match="scales are not"):
        target.effective(bad, job)
    assert changed(bad, path) == {REST_NAME}
    if edit is _poisoned:
        assert np.isnan(graph_difference(bad, path, job))


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    folder = tmp_path_factory.mktemp("onnx")
    job = dataclasses.replace(job_of(RECIPES["int8"]), scratch=folder)
    target.make(job, folder / job.recipe.file)
    return folder / job.recipe.file, job


def _rename(graph: onnx.GraphProto) -> None:
    tensor, _ = array_of(graph, "pre_classifier.weight")
    for node in graph.node:
        node.input[:] = ["other" if name == tensor.name else name for name in node.input]
    tensor.name = "other"


def _add(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.zeros(300, np.float32), "added"))


def _turn(graph: onnx.GraphProto) -> None:
    tensor, array = array_of(graph, INNER)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array.T), tensor.name))


@pytest.mark.parametrize(
    ("edit", "match"),
    [(_rename, "stores other"), (_add, "stores added"), (_turn, "has the shape")],
)
def test_a_file_with_other_weights_is_refused(
    made: tuple[Path, Job], edit: Edit, match: str, tmp_path: Path
) -> None:
    path, job = made
    with pytest.raises(UserError, match=match):
        target.effective(edited(path, edit, tmp_path), job)


def test_a_missing_bias_is_refused(made: tuple[Path, Job], tmp_path: Path) -> None:
    path, job = made

    def drop(graph: onnx.GraphProto) -> None:
        graph.initializer.remove(array_of(graph, "pre_classifier.bias")[0])

    with pytest.raises(UserError, match=r"lacks pre_classifier\.bias"):
        target.effective(edited(path, drop, tmp_path), job)


# --- a wrong graph stays wrong ------------------------------------------------------------------


def _tanh(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type == "Gelu":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("approximate", "tanh"))


def _epsilon(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-3


def _scale(graph: onnx.GraphProto) -> None:
    """Of attention: the one scalar below one that is not a scale of quantization."""
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size == 1 and 0 < array < 1:
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.01), tensor.name))


def _weak_mask(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and array == -10000:
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(3e-4), tensor.name))


def _other_bias(graph: onnx.GraphProto) -> None:
    first, last = (f"distilbert.transformer.layer.{n}.ffn.lin1.bias" for n in (0, 1))
    for node in graph.node:
        node.input[:] = [last if name == first else name for name in node.input]


@pytest.mark.parametrize("edit", [_tanh, _epsilon, _scale, _weak_mask, _other_bias])
def test_a_wrong_graph_is_seen_in_every_precision(
    made: tuple[Path, Job], edit: Edit, tmp_path: Path
) -> None:
    path, job = made
    bad = edited(path, edit, tmp_path)
    assert onnx.load(bad) != onnx.load(path)
    assert graph_difference(bad, path, job) > GRAPH_GATE


def test_the_reference_keeps_its_own_weights(made: tuple[Path, Job]) -> None:
    path, job = made
    before = copy.deepcopy(job.source.reference.module.model.state_dict())
    effective_reference(job.source.reference, target.effective(path, job))
    after = job.source.reference.module.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
