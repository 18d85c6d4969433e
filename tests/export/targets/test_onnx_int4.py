"""Weights of four bits in ONNX: what is stored, what it is unpacked to, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from coreml_support import coreml_job, lively_classifier
from onnx import numpy_helper

from export.families.plain import plain_of
from export.recipes import Recipe, WeightsRule, recipes
from export.reference import reference_from_model
from export.rounding.grid import grid_of
from export.targets import onnx as target
from export.targets.base import Job
from export.targets.precision import check_precision
from runtime.errors import UserError
from runtime.sessions.onnx_packed import unpack, unpack_linear

LINEAR = WeightsRule("int4", "block", "minmax", 16, scale="multiple")
ROWS = WeightsRule("int4", "block", "minmax", 16, scale="float16")
INT8 = recipes("onnx")["int8"]
INT4 = dataclasses.replace(
    INT8, name="int4", precision="int4", linear=LINEAR, embedding=ROWS, outliers="keep"
)
WORDS = "distilbert.embeddings.word_embeddings.weight"
INNER = "distilbert.transformer.layer.0.ffn.lin1.weight"
OUTER = "distilbert.transformer.layer.0.ffn.lin2.weight"
QUERY = "distilbert.transformer.layer.0.attention.q_lin.weight"
KEY = "distilbert.transformer.layer.0.attention.k_lin.weight"
POSITIONS = "distilbert.embeddings.position_embeddings.weight"


@pytest.fixture(scope="module")
def job() -> Job:
    return dataclasses.replace(coreml_job(), recipe=INT4, options={})


@pytest.fixture(scope="module")
def floats(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    target.convert(job.source.reference, (32,), path)
    return path


@pytest.fixture(scope="module")
def int4(floats: Path) -> Path:
    path = floats.with_name("model_int4.onnx")
    target.quantize(floats, INT4, path)
    return path


def feed() -> dict[str, np.ndarray]:
    ids = np.random.default_rng(3).integers(0, 90, (2, 20)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def session(model: Path | bytes, level: str = "ORT_ENABLE_ALL") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    data = model if isinstance(model, bytes) else model.read_bytes()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {v.name: numpy_helper.to_array(v) for v in onnx.load(path).graph.initializer}


# --- matrices -----------------------------------------------------------------------------------


def test_a_matrix_is_unpacked_to_the_grid(job: Job, int4: Path) -> None:
    """onnxruntime's own integers, times the stored scales, are the grid's numbers bit for bit."""
    model, found = onnx.load(int4), arrays(int4)
    names = [n.input[1] for n in model.graph.node if n.op_type == "MatMulInteger"]
    assert len(names) == 13
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    unpacked = session(model.SerializeToString()).run(names, feed())
    plain = plain_of(job.source.reference, one_position=True, sequence_first=True).parameters
    for name, matrix in zip(names, unpacked, strict=True):
        parameter = name.removesuffix("/int8")
        grid = grid_of(np.ascontiguousarray(plain[parameter]), LINEAR)
        assert matrix.dtype == np.int8
        assert np.abs(matrix.astype(int)).max() <= 126
        dense = matrix.T * found[f"{parameter}/scales"][:, None]
        np.testing.assert_array_equal(dense, grid.dense())
        np.testing.assert_array_equal(unpack_linear(found[f"{parameter}/int4"]), grid.codes)


def test_onnxruntime_unpacks_when_the_session_is_made(int4: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(int4), options, providers=["CPUExecutionProvider"])
    made = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = [node.op_type for node in made.node]
    assert sum(k in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat") for k in kinds) == 13
    assert "MatMulInteger" not in kinds
    stored = {tensor.name for tensor in made.initializer}
    assert not any(name.endswith(("/int4", "/multiples")) for name in stored)


def test_without_optimizations_the_logits_are_the_same(int4: Path) -> None:
    fast, slow = (
        session(int4, level).run(None, feed())[0] for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
    )
    np.testing.assert_allclose(slow, fast, atol=1e-5)


def test_only_standard_operators(int4: Path) -> None:
    assert not any("::" in name for name in target.describe(int4).operators)
    assert target.describe(int4).minimum_runtime == {"onnxruntime": "1.17.0"}


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["float32", "float16", "multiple"])
@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("y = Gather(table, i)", (40, 32)),
        ("y = Slice(table, one, eight, zero)", (40, 32)),
        ("s = Slice(table, one, eight, one) y = Squeeze(s, zero)", (1, 40, 32)),
    ],
)
def test_rows_are_unpacked_to_the_grid(
    body: str, shape: tuple[int, ...], scale: str, tmp_path: Path
) -> None:
    table = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    constants = {"table": table} | {
        name: np.array([value], np.int64) for name, value in (("zero", 0), ("one", 1), ("eight", 8))
    }
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20]> g (int64[n] i) => (float[a, 32] y) {{ {body} }}'
    )
    for name, array in constants.items():
        if f"{name}," in body or f"{name})" in body:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    rule = dataclasses.replace(ROWS, scale=scale)
    recipe = dataclasses.replace(INT4, embedding=rule)
    target.quantize(tmp_path / "m.onnx", recipe, tmp_path / "q.onnx")
    where = np.array([3, 39, 0, 7], np.int64)
    (got,) = session(tmp_path / "q.onnx").run(None, {"i": where})
    dense = grid_of(table.reshape(40, 32), rule).dense()
    np.testing.assert_array_equal(got, dense[where] if "Gather" in body else dense[1:8])
    (weight,) = (w for w in target.describe(tmp_path / "q.onnx").weights if w.role == "embedding")
    assert (weight.precision, weight.shape, weight.scales) == ("int4", shape, 80)
    overhead = {"float32": 2, "float16": 1, "multiple": 0.5 + 1}[scale]
    assert weight.bits == 4 + overhead


# --- what is said of it -------------------------------------------------------------------------


def test_description(int4: Path) -> None:
    found = {w.name: w for w in target.describe(int4).weights}
    words, inner = found[f"{WORDS}/int4_rows"], found[f"{INNER}/int4"]
    vocabulary = words.shape[0]
    assert (words.precision, words.role, words.scales) == ("int4", "embedding", vocabulary * 2)
    assert words.bits == 4 + 16 / 16
    assert (inner.precision, inner.role, inner.shape) == ("int4", "linear", (32, 48))
    assert (inner.scales, inner.bits) == (96, 4 + 8 / 16 + 32 / 32)
    listed = {name.partition("/")[0] for name in found} - {"everything else"}
    assert {w.precision for n, w in found.items() if "/" in n} == {"int4"}
    assert {WORDS, POSITIONS, INNER, OUTER, QUERY} <= listed


# --- a rule for each weight ---------------------------------------------------------------------


def test_every_precision_in_one_file(job: Job, floats: Path, tmp_path: Path) -> None:
    layers = {
        INNER: WeightsRule("float32", "none", "none"),
        OUTER: LINEAR,
        QUERY: WeightsRule("int8", "channel", "minmax", reduce_range=True),
        POSITIONS: WeightsRule("int8", "row", "minmax"),
    }
    mixed = dataclasses.replace(INT8, embedding=ROWS, layers=layers, outliers="keep")
    target.quantize(floats, mixed, tmp_path / "m.onnx")
    found = arrays(tmp_path / "m.onnx")
    assert INNER in found
    assert f"{OUTER}/int4" in found
    assert np.abs(found[f"{QUERY}/int8"].astype(int)).max() == 64
    assert np.abs(found[f"{KEY}/int8"].astype(int)).max() == 127
    assert {f"{WORDS}/int4_rows", f"{POSITIONS}/int8_rows"} <= found.keys()
    job = dataclasses.replace(job, recipe=mixed)
    effective = target.effective(tmp_path / "m.onnx", job)
    check_precision(target.describe(tmp_path / "m.onnx"), mixed, "m.onnx")
    state = job.source.reference.module.model.state_dict()
    np.testing.assert_array_equal(effective.tensors[INNER], state[INNER].numpy())
    np.testing.assert_array_equal(
        effective.tensors[OUTER], grid_of(state[OUTER].numpy(), LINEAR).dense()
    )
    # The same file is not what a recipe without these layers makes.
    plain = dataclasses.replace(job, recipe=dataclasses.replace(mixed, layers={}))
    with pytest.raises(UserError, match="stored in int8, not in int4"):
        target.effective(tmp_path / "m.onnx", plain)


def _with(**changes: object) -> WeightsRule:
    return dataclasses.replace(LINEAR, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (dataclasses.replace(INT4, linear=_with(scale="float32")), "linear weights as int4"),
        (dataclasses.replace(INT4, linear=_with(block=15)), "block of an even number"),
        (dataclasses.replace(INT4, linear=_with(granularity="channel", block=0)), "per channel"),
        (dataclasses.replace(INT4, embedding=_with(scale="bfloat16")), "scales as bfloat16"),
        (dataclasses.replace(INT4, layers={INNER: _with(algorithm="octav")}), "octav"),
    ],
)  # fmt: skip
def test_rules_that_it_does_not_know(
    recipe: Recipe, said: str, floats: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        target.quantize(floats, recipe, tmp_path / "m.onnx")
    if not recipe.layers:
        with pytest.raises(UserError, match=said):
            target.check(recipe, {}, (32,))
    assert not list(tmp_path.iterdir())


def test_columns_that_are_no_whole_number_of_blocks(floats: Path, tmp_path: Path) -> None:
    """48 inputs, blocks of 32: the weight is named, and a rule of its own helps."""
    wide = dataclasses.replace(INT4, linear=_with(block=32))
    with pytest.raises(UserError, match=rf"{OUTER}.* no whole number of blocks of 32"):
        target.quantize(floats, wide, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    others = [f"distilbert.transformer.layer.{n}.ffn.lin2.weight" for n in (0, 1)]
    helped = dataclasses.replace(wide, layers=dict.fromkeys(others, INT8.linear))
    target.quantize(floats, helped, tmp_path / "m.onnx")
    assert f"{OUTER}/int8" in arrays(tmp_path / "m.onnx")


# --- outliers -----------------------------------------------------------------------------------


def test_divided_inputs(floats: Path, job: Job, tmp_path: Path) -> None:
    """A divisor multiplies the columns before they are rounded, and is proved with them."""
    divisor = np.ones(32, np.float32)
    divisor[[3, 17]] = 8
    layer = INNER.removesuffix(".weight")
    target.quantize(floats, INT4, tmp_path / "m.onnx", {layer: divisor})
    divided = dataclasses.replace(job, divisors={layer: divisor})
    original = job.source.reference.module.model.state_dict()[INNER].numpy()
    found = target.effective(tmp_path / "m.onnx", divided).tensors[INNER]
    np.testing.assert_array_equal(found, grid_of(original * divisor, LINEAR).dense() / divisor)
    with pytest.raises(UserError, match="divided by something else"):
        target.effective(tmp_path / "m.onnx", job)


# --- planted faults -----------------------------------------------------------------------------


def _one_nibble(array: np.ndarray) -> None:
    array.flat[5] ^= 0x10


def _one_multiple(array: np.ndarray) -> None:
    array.flat[2] += 1 if array.flat[2] < 18 else -1


def _one_scale(array: np.ndarray) -> None:
    array.flat[0] *= 2


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        (f"{INNER}/int4", _one_nibble, "1 of 1536 codes are not the nearest"),
        (f"{INNER}/multiples", _one_multiple, "1 of 96 scales are not"),
        (f"{INNER}/scales", _one_scale, "2 of 96 scales are not"),
        (f"{WORDS}/int4_rows", _one_nibble, "1 of .* codes are not the nearest"),
        (f"{WORDS}/row_scales", _one_scale, "1 of .* scales are not"),
        ("int4_products", _one_nibble, "int4_products is wrong"),
        ("int4_codes", _one_scale, "int4_codes is wrong"),
    ],
)
def test_one_wrong_number_is_refused(
    name: str,
    edit: Callable[[np.ndarray], None],
    said: str,
    job: Job,
    int4: Path,
    tmp_path: Path,
) -> None:
    model = onnx.load(int4)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    edit(array)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UserError, match=said):
        target.effective(tmp_path / "m.onnx", job)
    before = {w.name: w.sha256 for w in target.describe(int4).weights}
    after = {w.name: w.sha256 for w in target.describe(tmp_path / "m.onnx").weights}
    assert sum(before[each] != after[each] for each in before) == 1


def test_a_row_of_zeros(tmp_path: Path) -> None:
    model = lively_classifier()
    for name, parameter in model.named_parameters():
        if name in (INNER, WORDS):
            parameter.data[2] = 0
    job = dataclasses.replace(coreml_job(), recipe=INT4, options={}, scratch=tmp_path)
    source = dataclasses.replace(job.source, reference=reference_from_model(model))
    job = dataclasses.replace(job, source=source)
    target.make(job, tmp_path / "m.onnx")
    found = target.effective(tmp_path / "m.onnx", job).tensors
    assert not found[INNER][2].any()
    assert not unpack(arrays(tmp_path / "m.onnx")[f"{WORDS}/int4_rows"])[2].any()
