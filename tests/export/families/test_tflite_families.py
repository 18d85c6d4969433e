"""TFLite of every family: the graph, the stored weights, and each family's own trap, sprung."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from coreml_support import family_classifier
from litert_support import opened_tflite

from export.artifacts import effective_reference
from export.families import families
from export.families.anatomy import ANATOMIES
from export.families.plain import plain_of
from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import tflite
from export.targets.precision import check_precision
from export.targets.tflite._flatbuffer import load, operator_name, shape_of, uses, values_of
from runtime.errors import UserError
from runtime.sessions import SessionSettings
from runtime.sessions.base import ExactSession
from runtime.sessions.litert_file import save, schema, text

LENGTHS = (8, 16)
GRAPH_GATE = 1e-4  # the recipes'
PAD = 1
FAMILIES = families()
# The ones that differ most; DistilBERT is in every other test of the target.
FAST = ("albert", "mobilebert", "xlnet")
EVERY = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow, id=name) for name in FAMILIES
]
_FLOAT = WeightsRule("float32", "none", "none")
RULES = {
    "float32": (_FLOAT, _FLOAT),
    "int8": (WeightsRule("int8", "channel", "minmax"), WeightsRule("int8", "row", "minmax")),
}
# Everything else runs in XNNPACK, in one partition, or in two around one small product: the scores
# of the last block, where it is written out with a row per head.
OUTSIDE_XNNPACK = {"RESHAPE", "CAST", "EMBEDDING_LOOKUP", "SLICE", "MINIMUM"}
SPLITS_XNNPACK = "FULLY_CONNECTED"

Floats = npt.NDArray[np.float32]


def recipe(precision: str) -> Recipe:
    linear, embedding = RULES[precision]
    return Recipe("tflite", "r", 1, precision, "x", "", linear, embedding, {}, {})


def family_reference(name: str) -> Reference:
    return reference_from_model(family_classifier(name))


@dataclass(frozen=True)
class Made:
    name: str
    reference: Reference
    files: dict[str, Path]

    def job(self, precision: str) -> Any:
        source = SimpleNamespace(reference=self.reference, lengths=LENGTHS)
        return SimpleNamespace(source=source, recipe=recipe(precision))

    def own(self, precision: str) -> Reference:
        """PyTorch with the weights of a file."""
        return effective_reference(
            self.reference, tflite.effective(self.files[precision], self.job(precision))
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    @functools.cache
    def make(name: str) -> Made:
        folder = tmp_path_factory.mktemp(name)
        reference = family_reference(name)
        files = {precision: folder / f"{precision}.tflite" for precision in RULES}
        tflite.convert(reference, LENGTHS, files["float32"])
        tflite.quantize(files["float32"], recipe("int8"), files["int8"])
        return Made(name, reference, files)

    return make


def rows() -> list[list[int]]:
    random = np.random.default_rng(5)
    return [random.integers(3, 200, count).tolist() for count in (2, 5, 8, 9, 16)]


def session(path: Path, side: Any) -> ExactSession:
    opened = opened_tflite(path, SessionSettings(pad_side=side, pad_id=PAD))
    assert isinstance(opened, ExactSession)
    return opened


def exact(path: Path, side: Any) -> Floats:
    """Logits of `rows`, no activation quantized, each padded to the next length."""
    opened = session(path, side)
    ids = [np.array([row], dtype=np.int32) for row in rows()]
    return np.concatenate([opened.run_exact(each, np.ones_like(each)) for each in ids])


def graph_difference(made: Made, path: Path, own: Reference | None = None) -> float:
    """Largest difference between a file's graph and PyTorch on the same weights, unpadded.

    PyTorch in float64: in float32 it is as far off as the limit itself.
    """
    module: Any = copy.deepcopy((own or made.reference).module).double()
    # torch's own fused attention reads a float32 mask wrongly where the rest is float64.
    module.model.config._attn_implementation = "eager"
    ids = [torch.tensor([row], dtype=torch.int32) for row in rows()]
    with torch.inference_mode():
        wanted = torch.cat([module(each, torch.ones_like(each)) for each in ids]).numpy()
    return float(np.abs(exact(path, FAMILIES[made.name].pad_side) - wanted).max())


@pytest.mark.parametrize("precision", RULES)
@pytest.mark.parametrize("name", EVERY)
def test_pytorch_with_its_weights_computes_what_the_graph_does(
    name: str, precision: str, made: Callable[[str], Made]
) -> None:
    it = made(name)
    own = it.own(precision)
    assert graph_difference(it, it.files[precision], own) < 0.1 * GRAPH_GATE
    mine, original = (reference_logits(reference, rows()) for reference in (own, it.reference))
    assert np.ptp(original, axis=0).min() > 0.1
    change = np.abs(mine - original).max() / np.sqrt(np.square(original).mean())
    assert 1e-3 < change < 0.5 if precision == "int8" else change < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_an_untrained_model_leaves_things_out_that_are_known(name: str, tmp_path: Path) -> None:
    """Norms that do nothing and biases of 0 are not in the file, and are not missed."""
    reference = family_reference(name)
    for module in reference.module.model.modules():
        for parameter, value in getattr(module, "_parameters", {}).items():
            if value is not None and value.ndim == 1:
                is_factor = parameter == "weight"  # of a norm; a matrix has two axes
                value.copy_(torch.full_like(value, 1.0 if is_factor else 0.0))
    files = {"float32": tmp_path / "float32.tflite"}
    tflite.convert(reference, LENGTHS, files["float32"])
    it = Made(name, reference, files)
    assert graph_difference(it, files["float32"], it.own("float32")) < 0.1 * GRAPH_GATE


@pytest.mark.parametrize("name", EVERY)
def test_operators_are_old_plain_and_delegated(name: str, made: Callable[[str], Made]) -> None:
    for precision, path in made(name).files.items():
        described = tflite.describe(path)
        check_precision(described, recipe(precision), path.name)
        assert not {"CUSTOM", "GATHER_ND", "GATHER", "SELECT_V2"} & set(described.operators)
        assert not any(operator.startswith("Flex") for operator in described.operators)
        tensors = [tensor for graph in load(path).subgraphs for tensor in graph.tensors]
        assert max(len(shape_of(tensor)) for tensor in tensors) == 4
        oldest = {"float32": ("2.3.0", "2.9.0"), "int8": ("2.18.0",)}[precision]
        assert described.minimum_runtime["tensorflow"] in oldest
        assert tflite.shortfalls(path) == ()
        shortened = name in ANATOMIES and name != "albert"
        first, *further = undelegated(path)
        assert set(first) <= OUTSIDE_XNNPACK
        assert [kinds.count(SPLITS_XNNPACK) for kinds in further] == [1] * shortened
        assert all(set(kinds) <= {*OUTSIDE_XNNPACK, SPLITS_XNNPACK} for kinds in further)


def undelegated(path: Path) -> list[list[str]]:
    """Before each partition of XNNPACK: the operators that run outside, since the one before it."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    partitions = [op for op in operators if op["op_name"] == "DELEGATE"]
    inside = {int(i) for partition in partitions for i in partition["outputs"]}
    makers = {int(i): op for op in operators if op not in partitions for i in op["outputs"]}
    found, seen = [], inside
    for partition in partitions:
        waiting, kinds = [int(i) for i in partition["inputs"]], []
        while waiting:
            tensor = waiting.pop()
            if tensor not in seen and (maker := makers.get(tensor)) is not None:
                kinds.append(maker["op_name"])
                waiting += [int(i) for i in maker["inputs"]]
            seen.add(tensor)
        found.append(kinds)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_each_matrix_is_stored_once_under_its_name(name: str, made: Callable[[str], Made]) -> None:
    it = made(name)
    parameters = plain_of(it.reference).parameters
    matrices = {
        weight.name: weight.shape
        for weight in tflite.describe(it.files["float32"]).weights
        if weight.role in ("linear", "embedding")
    }
    used = {n: v for n, v in parameters.items() if v.ndim == 2 and v.size >= 256}
    tables = {n for n in used if "position_embeddings" in n}
    assert set(matrices) - tables == set(used) - tables - _token_types(used)
    assert all(matrices[n] == used[n].shape for n in set(matrices) - tables)
    unused = FAMILIES[name].unused_positions(PAD)
    assert all(matrices[n] == (LENGTHS[-1] + unused, used[n].shape[1]) for n in tables)
    stored = sum(len(b.data) for b in load(it.files["float32"]).buffers if b.data is not None)
    assert stored < 4 * sum(values.size for values in parameters.values()) + 8192


def _token_types(names: Any) -> set[str]:
    return {name for name in names if "token_type" in name}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_another_process_gives_the_same_bytes(
    name: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    script = (
        "import importlib.util, sys, pathlib\n"
        "spec = importlib.util.spec_from_file_location('again', sys.argv[1])\n"
        "again = importlib.util.module_from_spec(spec); sys.modules['again'] = again\n"
        "spec.loader.exec_module(again)\n"
        "f, q = pathlib.Path('float32.tflite'), pathlib.Path('int8.tflite')\n"
        "again.tflite.convert(again.family_reference(sys.argv[2]), again.LENGTHS, f)\n"
        "again.tflite.quantize(f, again.recipe('int8'), q)\n"
    )
    tests = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", script, __file__, name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}", "PYTHONHASHSEED": "99"},
        check=True,
        timeout=300,
    )
    for path in made(name).files.values():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


# Faults that a converter could make in just this family, planted in the float file.


def _constant(model: Any, graph: Any, index: int, values: npt.NDArray[Any]) -> None:
    """Give a tensor of one signature other values."""
    model.buffers.append(schema().BufferT())
    model.buffers[-1].data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    graph.tensors[index].buffer = len(model.buffers) - 1


def _operators(model: Any, graph: Any, kind: str) -> list[Any]:
    return [o for g, o, name in uses(model) if g is graph and name == kind]


def _no_token_type(model: Any, graph: Any) -> None:
    (index,) = (i for i, t in enumerate(graph.tensors) if "token_type" in text(t.name))
    _constant(model, graph, index, np.zeros(shape_of(graph.tensors[index]), np.float32))


def _position_before(model: Any, graph: Any) -> None:
    for lookup in _operators(model, graph, "EMBEDDING_LOOKUP"):
        ids = int(lookup.inputs[0])
        if "position" in text(graph.tensors[int(lookup.inputs[1])].name):
            places = values_of(model, graph.tensors[ids])
            _constant(model, graph, ids, np.maximum(places - 1, 0).astype(np.int32))


def _neighbours_see_padding(model: Any, graph: Any) -> None:
    """The slices before MobileBERT's trigrams read the words without the mask."""
    shift = _operators(model, graph, "PAD")
    makers = {int(o.outputs[0]): o for g, o, _ in uses(model) if g is graph}
    for pad in shift:
        cut = makers[int(pad.inputs[0])]
        masked = makers[int(cut.inputs[0])]
        assert operator_name(model.operatorCodes[masked.opcodeIndex]) == "MUL"
        cut.inputs = np.array([masked.inputs[0], *cut.inputs[1:]], dtype=np.int32)


def _distances_off_by_one(model: Any, graph: Any) -> None:
    """The second cut of XLNet's shift takes the columns after the right ones."""
    length = shape_of(graph.tensors[graph.inputs[0]])[-1]
    cuts = [
        cut
        for cut in _operators(model, graph, "SLICE")
        if shape_of(graph.tensors[int(cut.inputs[0])])[-1] == 2 * length - 1
    ]
    assert len(cuts) == 2
    graph.tensors.append(schema().TensorT())
    graph.tensors[-1].__dict__.update(vars(graph.tensors[int(cuts[0].inputs[1])]))
    _constant(model, graph, len(graph.tensors) - 1, np.array([0, 0, 0, 1], np.int32))
    for cut in cuts:
        cut.inputs = np.array(
            [cut.inputs[0], len(graph.tensors) - 1, cut.inputs[2]], dtype=np.int32
        )


def _one_segment(model: Any, graph: Any) -> None:
    """<cls> is in the segment of the text."""
    length = shape_of(graph.tensors[graph.inputs[0]])[-1]
    wanted = np.eye(1, length, length - 1, dtype=np.float32)
    (index,) = (
        i
        for i, t in enumerate(graph.tensors)
        if model.buffers[t.buffer].data is not None
        and shape_of(t) == wanted.shape
        and np.array_equal(values_of(model, t), wanted)
    )
    _constant(model, graph, index, np.zeros_like(wanted))


TRAPS: list[tuple[str, Callable[[Any, Any], None]]] = [
    ("bert", _no_token_type),
    ("electra", _no_token_type),
    ("albert", _no_token_type),
    ("roberta", _no_token_type),
    ("mobilebert", _no_token_type),
    ("bert", _position_before),
    ("albert", _position_before),
    ("roberta", _position_before),
    ("mobilebert", _position_before),
    ("mobilebert", _neighbours_see_padding),
    ("xlnet", _distances_off_by_one),
    ("xlnet", _one_segment),
]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(n, f, marks=() if n in FAST else pytest.mark.slow, id=f"{n}{f.__name__}")
        for n, f in TRAPS
    ],
)
def test_the_familys_trap_is_seen_in_the_graph(
    name: str, fault: Callable[[Any, Any], None], made: Callable[[str], Made], tmp_path: Path
) -> None:
    it = made(name)
    model = load(it.files["float32"])
    for graph in model.subgraphs:
        fault(model, graph)
    save(model, tmp_path / "broken.tflite")
    assert graph_difference(it, tmp_path / "broken.tflite") > 10 * GRAPH_GATE
    assert graph_difference(it, it.files["float32"]) < 0.1 * GRAPH_GATE


def test_a_wrong_token_type_is_refused(made: Callable[[str], Made], tmp_path: Path) -> None:
    it = made("roberta")
    model = load(it.files["float32"])
    for graph in model.subgraphs:
        _no_token_type(model, graph)
    save(model, tmp_path / "broken.tflite")
    with pytest.raises(UserError, match=r"token_type_embeddings\.weight is not what the recipe"):
        tflite.effective(tmp_path / "broken.tflite", it.job("float32"))


@pytest.mark.parametrize("name", FAST)
def test_padding_on_the_wrong_side_is_seen(name: str, made: Callable[[str], Made]) -> None:
    it = made(name)
    right, wrong = sorted(("left", "right"), key=lambda s: s != FAMILIES[name].pad_side)
    wanted = reference_logits(it.reference, rows())
    assert np.abs(exact(it.files["float32"], right) - wanted).max() < 0.1 * GRAPH_GATE
    assert np.abs(exact(it.files["float32"], wrong) - wanted).max() > 10 * GRAPH_GATE


@pytest.mark.parametrize("name", FAST)
def test_what_is_under_the_padding_does_not_matter(name: str, made: Callable[[str], Made]) -> None:
    """The raw graph, as an app calls it, with other ids where the mask is 0."""
    path = made(name).files["float32"]
    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner("seq_16")
    ids = np.random.default_rng(3).integers(3, 200, (2, 16), dtype=np.int32)
    text_place = slice(0, 6) if FAMILIES[name].pad_side == "right" else slice(10, 16)
    ids[1, text_place] = ids[0, text_place]
    mask = np.zeros((1, 16), dtype=np.int32)
    mask[:, text_place] = 1
    one, other = (runner(input_ids=ids[[i]], attention_mask=mask)["logits"] for i in (0, 1))
    np.testing.assert_array_equal(one, other)


def test_a_bias_that_was_put_into_other_layers_is_back(made: Callable[[str], Made]) -> None:
    """ALBERT's projection: its bias in queries, keys and values would store them a second time."""
    it, name = made("albert"), "albert.encoder.embedding_hidden_mapping_in.bias"
    original = it.reference.module.model.state_dict()[name].numpy()
    model = load(it.files["float32"])
    for graph in model.subgraphs:
        (stored,) = (values_of(model, t) for t in graph.tensors if text(t.name) == name)
        np.testing.assert_array_equal(stored, original)
