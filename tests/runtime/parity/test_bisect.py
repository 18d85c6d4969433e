"""Faults planted at a known operation of real artifacts: the bisection must name that operation."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from runtime.bundle import Bundle
from runtime.cli_bisect import bisect_command
from runtime.errors import BundleError
from runtime.faults import read_artifact
from runtime.faults.anatomy import blocks, classifier, masking, position_table, score_scale
from runtime.faults.graph import GELU, PRODUCT, Graph, Node
from runtime.parity import bisect as bisect_module
from runtime.parity.bisect import BisectReport, bisect, layer_errors
from runtime.parity.bisect_budgets import budgets_of
from runtime.rejected import DRAFT
from runtime.sessions.base import SessionSettings
from runtime.trace import TRACE, read_trace

FLOAT = ("model.onnx", "model.tflite")
INT8 = ("model_int8.onnx", "model_int8.tflite")
# Runs only with rounded activations, which hide small faults.
ROUNDED = ("model_int8.tflite",)
COREML = ("model.mlpackage", "model_int8.mlpackage")
ALL = (*FLOAT, *INT8, *COREML)

# Plants a fault and returns the operations of which one must be named.
Plant = Callable[[Graph], list[Node]]


def tanh_gelu(graph: Graph) -> list[Node]:
    node = [n for n in graph.nodes if n.kind == GELU][1]
    graph.set_activation(node, "tanh")
    return [node]


def relu_gelu(graph: Graph) -> list[Node]:
    node = [n for n in graph.nodes if n.kind == GELU][1]
    graph.set_activation(node, "relu")
    return [node]


def wrong_scores(graph: Graph) -> list[Node]:
    """The first block's scores, or the queries where the scale is theirs."""
    block = blocks(graph)[0]
    where = score_scale(graph, block)
    if where is not None:
        graph.own(*where)[...] *= 1.2
        return [where[0]]
    graph.weight(block.query).multiply(1.2)
    place = graph.bias(block.query)
    assert place is not None
    graph.own(*place)[...] *= 1.2
    return [block.query]


def wrong_weights(graph: Graph) -> list[Node]:
    node = blocks(graph)[1].value
    graph.weight(node).multiply(1.1)
    return [node]


def zeroed_weights(graph: Graph) -> list[Node]:
    node = blocks(graph)[0].inner
    graph.weight(node).clear()
    return [node]


def zeroed_bias(graph: Graph) -> list[Node]:
    node = blocks(graph)[1].query
    place = graph.bias(node)
    assert place is not None
    graph.own(*place)[...] = 0.0
    return [place[0]]


def swapped_query_key(graph: Graph) -> list[Node]:
    """Both layers are right, each in the place of the other: their product is not."""
    block = blocks(graph)[0]
    graph.weight(block.query).exchange(graph.weight(block.key))
    places = graph.bias(block.query), graph.bias(block.key)
    assert places[0] is not None
    assert places[1] is not None
    query, key = graph.own(*places[0]), graph.own(*places[1])
    kept = query.copy()
    query[...] = key
    key[...] = kept
    return [next(n for n in graph.after(block.query.outputs) if n.kind == PRODUCT)]


def not_a_number(graph: Graph) -> list[Node]:
    node = blocks(graph)[1].outer
    place = graph.bias(node)
    assert place is not None
    graph.own(*place).reshape(-1)[0] = np.nan
    return [place[0]]


def no_mask(graph: Graph) -> list[Node]:
    place = masking(graph)
    graph.own(*place)[...] = 0.0
    return [place[0]]


def permuted_labels(graph: Graph) -> list[Node]:
    node = classifier(graph)
    weight = graph.weight(node)
    weight.take(np.roll(np.arange(len(weight.values)), 1))
    return [node]


def softmax_output(graph: Graph) -> list[Node]:
    graph.end_with("softmax")
    return []


# Fault → the block, and the files in which it is below the rounding of the recipe.
FAULTS: dict[Plant, tuple[str, tuple[str, ...]]] = {
    tanh_gelu: ("block 1", ROUNDED),
    relu_gelu: ("block 1", ()),
    wrong_scores: ("block 0", ()),
    wrong_weights: ("block 1", ()),
    zeroed_weights: ("block 0", ()),
    zeroed_bias: ("block 1", ()),
    swapped_query_key: ("block 0", ()),
    not_a_number: ("block 1", ()),
    no_mask: ("attention mask", ()),
    permuted_labels: ("head", ()),
    softmax_output: ("head", ()),
}


def _settings(bundle: Bundle) -> SessionSettings:
    tokenizer = bundle.manifest.tokenizer
    return SessionSettings(pad_id=tokenizer.pad_id, vocab_size=tokenizer.vocab_size)


def _bisect(bundle: Bundle, file: str) -> BisectReport:
    return bisect(bundle, bundle.artifact(file), _settings(bundle))


def _names(graph: Graph, nodes: list[Node]) -> set[str]:
    """What the nodes make, as the file calls it."""
    names = {name for node in nodes for name in node.outputs}
    tensors = getattr(getattr(graph, "_graph", None), "tensors", None)
    if tensors is None:
        return names
    return {tensors[int(name)].name.decode() for name in names}


def _plant(bundle: Bundle, file: str, plant: Plant, folder: Path) -> tuple[Bundle, set[str]]:
    """A folder with the damaged artifact and the trace, nothing else."""
    spec = bundle.artifact(file)
    artifact = read_artifact(bundle.file(file), spec)
    expected: set[str] = set()
    for graph in artifact.graphs:
        expected |= _names(graph, plant(graph))
    artifact.save(folder / file)
    shutil.copy(bundle.file(TRACE), folder / TRACE)
    return Bundle(folder, bundle.manifest), expected


@pytest.mark.parametrize("file", ALL)
def test_a_sound_artifact_diverges_nowhere(bundle: Bundle, file: str) -> None:
    report = _bisect(bundle, file)
    assert (report.verdict, report.block, report.op) == ("sound", None, None)
    names = [layer.layer for layer in report.layers]
    assert names == ["embeddings", "block 0", "block 1", "head"]
    assert all(0.0 < layer.rel_rms <= layer.budget for layer in report.layers)
    assert report.lengths == (bundle.artifact(file).lengths or (32, 64))


@pytest.mark.parametrize(
    ("plant", "file"),
    [(p, f) for p in FAULTS for f in ALL if p is not zeroed_bias or f not in ROUNDED],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_names_the_planted_operation(
    bundle: Bundle, plant: Plant, file: str, tmp_path: Path
) -> None:
    block, unseen = FAULTS[plant]
    damaged, expected = _plant(bundle, file, plant, tmp_path)
    report = _bisect(damaged, file)
    if file in unseen:
        assert report.verdict == "sound"
        return
    assert (report.verdict, report.block) == ("found", block), report
    if expected:
        assert report.tensor in expected, report
    else:
        assert report.kind.lower() == "softmax"


@pytest.mark.parametrize("file", INT8)
def test_a_fault_near_the_rounding_names_the_block_at_most(
    bundle: Bundle, file: str, tmp_path: Path
) -> None:
    damaged, expected = _plant(bundle, file, zeroed_bias, tmp_path)
    report = _bisect(damaged, file)
    if report.verdict == "found":
        assert report.block == "block 1"
        assert report.tensor in expected or "may lie before" in report.note
    else:
        assert report.verdict == "sound"


@pytest.mark.parametrize("file", FLOAT)
def test_one_wrong_length_is_told(bundle: Bundle, file: str, tmp_path: Path) -> None:
    """A table of positions that is wrong behind the shortest length."""
    spec = bundle.artifact(file)
    artifact = read_artifact(bundle.file(file), spec)
    for graph in artifact.graphs:
        table = position_table(graph)
        if len(table.values) > 32:
            table.clear(slice(40, 44))
    artifact.save(tmp_path / file)
    shutil.copy(bundle.file(TRACE), tmp_path / TRACE)
    report = _bisect(Bundle(tmp_path, bundle.manifest), file)
    assert (report.verdict, report.block) == ("found", "embeddings")
    assert "at length 64 only" in report.note


def test_layers_after_a_fault_are_beyond_their_budget(bundle: Bundle, tmp_path: Path) -> None:
    damaged, _ = _plant(bundle, "model.onnx", wrong_weights, tmp_path)
    layers = layer_errors(damaged, damaged.artifact("model.onnx"), _settings(damaged))
    within = {layer.layer: layer.rel_rms <= layer.budget for layer in layers}
    assert within == {"embeddings": True, "block 0": True, "block 1": False, "head": False}


def test_a_fault_that_looking_moves_is_unknown(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime may fuse what nobody looks at; here that moves no bit, so no move is allowed."""
    budgets = budgets_of(bundle.artifact("model.onnx"))
    assert budgets is not None
    damaged, _ = _plant(bundle, "model.onnx", relu_gelu, tmp_path)
    assert _bisect(damaged, "model.onnx").untapped_difference <= budgets.taps
    monkeypatch.setattr(bisect_module, "budgets_of", lambda _: replace(budgets, taps=-1.0))
    report = _bisect(damaged, "model.onnx")
    assert (report.verdict, report.block, report.op) == ("unknown", "block 1", None)
    assert "moves the logits" in report.note


@pytest.mark.parametrize(
    ("tapped", "moved"),
    [([1.0, 2.0], 0.0), ([1.0, 2.5], 0.5), ([1.0, np.nan], np.inf), ([np.inf, 2.0], np.inf)],
)
def test_what_looking_moves_is_measured(tapped: list[float], moved: float) -> None:
    found = np.array([tapped], np.float32), np.array([[1.0, 2.0]], np.float32)
    assert bisect_module._difference(*found, np.array([1.0, -1.0], np.float32)) == moved


def test_coarse_weights_without_a_trace_are_unknown(bundle: Bundle) -> None:
    spec = replace(bundle.artifact("model_int8.onnx"), precision="int4")
    trace = read_trace(bundle.file(TRACE))
    others = (replace(case, artifact=case.artifact and "another") for case in trace.cases)
    report = bisect(bundle, spec, _settings(bundle), replace(trace, cases=tuple(others)))
    assert report.verdict == "unknown"
    assert "too coarse" in report.note


def test_repeats_itself(bundle: Bundle) -> None:
    assert _bisect(bundle, "model_int8.tflite") == _bisect(bundle, "model_int8.tflite")


def test_a_bundle_without_a_trace_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=TRACE):
        bisect(Bundle(tmp_path, bundle.manifest), bundle.artifact("model.onnx"), _settings(bundle))


def _run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(bisect_command)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_command_on_a_sound_artifact(bundle_folder: Path) -> None:
    code, text = _run(str(bundle_folder), "--artifact", "model.tflite")
    assert code == 0
    assert "nothing diverges" in text


def test_command_on_a_rejected_export(bundle: Bundle, tmp_path: Path) -> None:
    """There is no manifest, only its draft; the files are those that the gate turned down."""
    damaged, expected = _plant(bundle, "model.onnx", relu_gelu, tmp_path)
    only = replace(bundle.manifest, artifacts=(bundle.artifact("model.onnx"),), files=())
    (tmp_path / DRAFT).write_text(json.dumps(only.to_json()))
    code, text = _run(str(tmp_path), "--json", str(tmp_path / "report.json"), "--as-it-is")
    assert code == 1
    assert "first block that diverges: block 1" in text
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["schema_version"] == 1
    assert found["artifacts"][0]["tensor"] in expected
    assert damaged.path == tmp_path


def test_command_refuses_a_changed_file(bundle: Bundle, tmp_path: Path) -> None:
    _plant(bundle, "model.onnx", relu_gelu, tmp_path)
    only = replace(bundle.manifest, artifacts=(bundle.artifact("model.onnx"),), files=())
    (tmp_path / DRAFT).write_text(json.dumps(only.to_json()))
    app = typer.Typer()
    app.command()(bisect_command)
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, BundleError)
    assert "was changed" in str(result.exception)


def test_infinite_errors_are_strings_in_json(bundle: Bundle, tmp_path: Path) -> None:
    _plant(bundle, "model.onnx", zeroed_weights, tmp_path)
    only = replace(bundle.manifest, artifacts=(bundle.artifact("model.onnx"),), files=())
    (tmp_path / DRAFT).write_text(json.dumps(only.to_json()))
    code, _ = _run(str(tmp_path), "--json", str(tmp_path / "report.json"), "--as-it-is")
    assert code == 1
    value = json.loads((tmp_path / "report.json").read_text())["artifacts"][0]["rel_rms"]
    assert value == "inf" or math.isfinite(value)
