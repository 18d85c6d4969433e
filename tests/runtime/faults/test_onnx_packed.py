"""Four-bit weights of ONNX files are found, changed and packed again; each fault then shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from coreml_support import coreml_job, padded_batch
from onnx import numpy_helper

from export.recipes import WeightsRule, recipes
from export.targets import onnx as target
from export.targets.base import Job
from export.targets.precision import summarise
from runtime.faults import read_artifact
from runtime.faults.anatomy import blocks, classifier, linears, position_table, word_table
from runtime.faults.graph import Graph, NotApplicable, Weight
from runtime.faults.onnx_faults import OnnxFile
from runtime.manifest import ArtifactSpec
from runtime.sessions import SessionSettings, open_session

WORDS = "distilbert.embeddings.word_embeddings.weight"
LAST_KEY = "distilbert.transformer.layer.1.attention.k_lin.weight"
INNER = "distilbert.transformer.layer.0.ffn.lin1.weight"


@pytest.fixture(scope="module", params=["float16", "multiple"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Job, ArtifactSpec]:
    folder = tmp_path_factory.mktemp("packed")
    linear = WeightsRule("int4", "block", "minmax", 16, scale="multiple")
    rows = dataclasses.replace(linear, scale=request.param)
    recipe = dataclasses.replace(recipes("onnx")["int4"], linear=linear, embedding=rows)
    job = dataclasses.replace(coreml_job(), recipe=recipe, options={}, scratch=folder)
    path = folder / "m.onnx"
    target.make(job, path)
    found = target.describe(path)
    spec = ArtifactSpec(
        path=path.name, format="onnx", recipe="int4", precision="int4", bytes=0, sha256="",
        inputs=found.inputs, outputs=found.outputs, lengths=None, minimum_runtime={},
        weights=summarise(found), gate="unknown",
    )  # fmt: skip
    return path, job, spec


def graph_of(made: tuple[Path, Job, ArtifactSpec]) -> tuple[OnnxFile, Graph]:
    artifact = read_artifact(made[0], made[2])
    assert isinstance(artifact, OnnxFile)
    return artifact, artifact.graphs[0]


def changed(made: tuple[Path, Job, ArtifactSpec], path: Path) -> set[str]:
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        for file in (made[0], path)
    )
    assert before.keys() == after.keys()
    return {name for name, array in before.items() if not np.array_equal(array, after[name])}


def test_a_file_comes_back_as_it_was(made: tuple[Path, Job, ArtifactSpec], tmp_path: Path) -> None:
    artifact, graph = graph_of(made)
    for node in linears(graph):
        graph.weight(node)
    word_table(graph)
    artifact.save(tmp_path / "m.onnx")
    assert changed(made, tmp_path / "m.onnx") == set()


def test_weights_are_what_the_target_proves(made: tuple[Path, Job, ArtifactSpec]) -> None:
    """An independent reading: the faults' view of the file beside the exporter's."""
    _, graph = graph_of(made)
    path, job, _ = made
    tensors = target.effective(path, job).tensors
    weights = [graph.weight(node) for node in linears(graph)]
    weights += [word_table(graph), position_table(graph)]
    assert len(weights) == 14 + 2
    for weight in weights:
        name = weight.name.partition("/")[0]
        found = weight.dense().astype(np.float32)
        # The last block multiplies queries by its keys' matrix, which is stored the other way.
        wanted = tensors[name].T if name == LAST_KEY else tensors[name]
        np.testing.assert_array_equal(found, wanted)


def test_the_parts_of_the_model_are_found(made: tuple[Path, Job, ArtifactSpec]) -> None:
    _, graph = graph_of(made)
    assert len(blocks(graph)) == 2
    without = {graph.weight(n).name for n in linears(graph) if graph.bias(n) is None}
    assert without <= {f"{LAST_KEY}/int4"}
    assert graph.stored_shape(linears(graph)[0].inputs["1"]) == (32, 32)
    assert graph.weight(classifier(graph)).scales is None


def _nibble(weight: Weight) -> None:
    weight.values[weight.values == 3] = -3


def _block(weight: Weight) -> None:
    weight.shift_block_scale()


def _overflow(weight: Weight) -> None:
    weight.shift_codes()


def _all(weight: Weight) -> None:
    weight.take(np.roll(np.arange(len(weight.values)), 1))


@pytest.mark.parametrize("edit", [_nibble, _block, _overflow, _all])
def test_a_fault_changes_its_weight_and_no_other(
    made: tuple[Path, Job, ArtifactSpec], edit: object, tmp_path: Path
) -> None:
    rows = made[1].recipe.embedding.scale
    for place, (name, scales) in enumerate(
        (
            (INNER, ("/int4", "/multiples", "/scales")),
            (WORDS, ("/int4_rows", "/row_multiples" if rows == "multiple" else "/row_scales")),
        )
    ):
        artifact, graph = graph_of(made)
        weight = word_table(graph) if place else graph.weight(blocks(graph)[0].inner)
        before = weight.dense()
        edit(weight)  # type: ignore[operator]
        wanted = weight.values.copy()
        artifact.save(tmp_path / f"{place}.onnx")
        found = changed(made, tmp_path / f"{place}.onnx")
        assert found
        assert {each.partition("/")[0] for each in found} == {name}
        if edit is _block:
            assert found == {name + scales[1]}
        again = read_artifact(tmp_path / f"{place}.onnx", made[2]).graphs[0]
        weight = word_table(again) if place else again.weight(blocks(again)[0].inner)
        np.testing.assert_array_equal(weight.values, wanted)
        assert (weight.dense() != before).any()
        # The first block of the table is a word's that these texts do not hold.
        if edit is not _block or not place:
            assert _moves_the_logits(made, tmp_path / f"{place}.onnx")


def _moves_the_logits(made: tuple[Path, Job, ArtifactSpec], path: Path) -> bool:
    ids, mask = padded_batch(24)
    sound, bad = (
        open_session(file, made[2], SessionSettings()).run(ids, mask) for file in (made[0], path)
    )
    return bool((sound != bad).any())


def test_what_has_no_blocks_has_no_block_scale() -> None:
    codes = Weight("w", np.ones((2, 4), np.int8), np.ones(2, np.float32))
    with pytest.raises(NotApplicable, match="no blocks"):
        codes.shift_block_scale()


def test_a_shared_matrix_is_left_alone(
    made: tuple[Path, Job, ArtifactSpec], tmp_path: Path
) -> None:
    """ALBERT's layers are all one; a change of it would be a change of each."""
    model = onnx.load(made[0])
    products = [n for n in model.graph.node if n.op_type == "MatMulInteger"]
    products[1].input[1] = products[0].input[1]
    onnx.save(model, tmp_path / "m.onnx")
    graph = read_artifact(tmp_path / "m.onnx", made[2]).graphs[0]
    with pytest.raises(NotApplicable, match="several operations read"):
        graph.weight(linears(graph)[0])
