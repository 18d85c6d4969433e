"""Parts of a model are found by structure; our own names tell whether they are the right ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_support import one_artifact

from runtime.faults import fault_modules, read_artifact
from runtime.faults.anatomy import (
    blocks,
    classifier,
    masking,
    position_table,
    score_scale,
    two_blocks,
    word_table,
)
from runtime.faults.graph import Graph, Node

ARTIFACTS = [f"{n}.{e}" for e in ("onnx", "tflite", "mlpackage") for n in ("model", "model_int8")]
PARTS = ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2")


def _graphs(folder: Path, name: str) -> tuple[Graph, ...]:
    return read_artifact(folder / name, one_artifact(folder, name).manifest.artifacts[0]).graphs


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_part_is_found(bundle_folder: Path, name: str) -> None:
    for graph in _graphs(bundle_folder, name):
        found = blocks(graph)
        assert len(found) == 2
        for number, block in enumerate(found):
            names = [graph.weight(node).name for node in block.linears]
            for given, part in zip(names, PARTS, strict=True):
                assert part in given
                assert f"layer.{number}" in given.replace("_", ".")
        assert two_blocks(graph) == found
        last = graph.weight(classifier(graph))
        assert "classifier" in last.name
        assert last.values.shape == (3, 64)
        assert "word" in word_table(graph).name
        assert "position" in position_table(graph).name
        node, parameter = masking(graph)
        assert float(graph.own(node, parameter).reshape(-1)[0]) == -1e4


@pytest.mark.parametrize("name", [name for name in ARTIFACTS if "int8" in name])
def test_codes_and_scales_give_the_same_weights_as_floats(bundle_folder: Path, name: str) -> None:
    """The int8 artifact's weights, taken apart by us, are the float one's but for rounding."""
    sides = [_graphs(bundle_folder, n)[0] for n in (name, name.replace("_int8", ""))]
    for node, other in zip(*(blocks(graph)[0].linears for graph in sides), strict=True):
        ours, theirs = sides[0].weight(node), sides[1].weight(other)
        assert ours.scales is not None
        assert theirs.scales is None
        step = ours.scales.max()
        assert abs(ours.dense() - theirs.dense()).max() <= step


def test_the_scale_is_an_operation_or_inside_the_query(bundle_folder: Path) -> None:
    for name, expected in (
        ("model.onnx", [True, True]),
        ("model.mlpackage", [True, True]),
        ("model.tflite", [False, True]),  # the last block's leaves each head its own channels
    ):
        graph = _graphs(bundle_folder, name)[0]
        assert [score_scale(graph, block) is not None for block in blocks(graph)] == expected


def _readers_of_a_shared_constant(graph: Graph) -> list[tuple[Node, str]]:
    readers: dict[str, list[tuple[Node, str]]] = {}
    for node in graph.nodes:
        for parameter, name in node.inputs.items():
            if graph.stored_shape(name) is not None:
                readers.setdefault(name, []).append((node, parameter))
    return next(found for found in readers.values() if len(found) > 1)


def test_a_constant_that_is_shared_is_changed_for_one_node_only(bundle_folder: Path) -> None:
    graph = _graphs(bundle_folder, "model.onnx")[0]
    first, second = _readers_of_a_shared_constant(graph)[:2]
    before = graph.own(*first).copy()
    graph.own(*second)[...] = 7
    assert (graph.own(*first) == before).all()
    assert (graph.own(*second) == 7).all()


def test_one_module_a_format() -> None:
    modules = fault_modules()
    assert set(modules) == {"onnx", "tflite", "coreml"}
    assert all(module.available() is None for module in modules.values())
