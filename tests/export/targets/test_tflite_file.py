"""TFLite: operator versions, and the flatbuffer that our packer writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.targets import tflite
from export.targets.tflite._flatbuffer import load, parse, values_of
from export.targets.tflite._op_versions import (
    minimum_runtime,
    required_versions,
    shortfalls_of,
    stamp,
)
from export.targets.tflite._packing import packed
from runtime.errors import UserError
from runtime.sessions.litert_file import text

ROWS, WIDTH, LABELS = 40, 32, 3


def code(name: str, version: int) -> Any:
    number = getattr(schema.BuiltinOperator, name)
    return schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=version)


def tensor(name: str, kind: str, shape: tuple[int, ...], buffer: int = 0, scales: int = 0) -> Any:
    quantization = None
    if scales:
        quantization = schema.QuantizationParametersT(
            scale=np.full(scales, 0.01, dtype=np.float32),
            zeroPoint=np.zeros(scales, dtype=np.int64),
        )
    return schema.TensorT(
        name=name,
        type=getattr(schema.TensorType, kind),
        shape=np.array(shape, dtype=np.int32),
        buffer=buffer,
        quantization=quantization,
        hasRank=True,
    )


def lookup_and_linear(
    *, kind: str = "INT8", row_scales: int = ROWS, channel_scales: int = LABELS, signatures: int = 2
) -> Any:
    """ids → EMBEDDING_LOOKUP → FULLY_CONNECTED, once per signature, as a quantizer leaves it."""
    random = np.random.default_rng(0)
    size = np.float32().itemsize if kind == "FLOAT32" else 1
    table, matrix = (
        random.integers(0, 100, rows * WIDTH * size, dtype=np.uint8) for rows in (ROWS, LABELS)
    )
    model = schema.ModelT(version=3, description="made by hand")
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [code("EMBEDDING_LOOKUP", 1), code("FULLY_CONNECTED", 5), code("TANH", 1)]
    model.subgraphs, model.signatureDefs = [], []
    for number in range(signatures):
        # Every signature brings its own copy of the weights.
        model.buffers += [schema.BufferT(data=table.copy()), schema.BufferT(data=matrix.copy())]
        length = 4 + number
        graph = schema.SubGraphT(name=f"seq_{length}")
        graph.tensors = [
            tensor("ids", "INT32", (length,)),
            tensor("table", kind, (ROWS, WIDTH), 2 * number + 1, row_scales),
            tensor("rows", "FLOAT32", (length, WIDTH)),
            tensor("matrix", kind, (LABELS, WIDTH), 2 * number + 2, channel_scales),
            tensor("logits", "FLOAT32", (length, LABELS)),
        ]
        options = schema.FullyConnectedOptionsT()
        graph.operators = [
            schema.OperatorT(opcodeIndex=0, inputs=integers(0, 1), outputs=integers(2)),
            schema.OperatorT(
                opcodeIndex=1,
                inputs=integers(2, 3, -1),
                outputs=integers(4),
                builtinOptionsType=schema.BuiltinOptions.FullyConnectedOptions,
                builtinOptions=options,
            ),
        ]
        graph.inputs, graph.outputs = integers(0), integers(4)
        model.subgraphs.append(graph)
        model.signatureDefs.append(
            schema.SignatureDefT(
                signatureKey=f"seq_{length}",
                inputs=[schema.TensorMapT(name="ids", tensorIndex=0)],
                outputs=[schema.TensorMapT(name="logits", tensorIndex=4)],
                subgraphIndex=number,
            )
        )
    return model


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def plainly_packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def outputs(data: bytes, length: int) -> np.ndarray:
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner(f"seq_{length}")
    result: np.ndarray = runner(ids=np.arange(length, dtype=np.int32))["logits"]
    return result.copy()


@pytest.mark.parametrize(
    ("kind", "row_scales", "channel_scales", "versions", "runtimes"),
    [
        ("FLOAT32", 0, 0, {}, ("1.0.1", "0")),
        ("INT8", 1, 1, {"EMBEDDING_LOOKUP": 3, "FULLY_CONNECTED": 3}, ("1.0.1", "1.14.0")),
        ("INT8", 1, LABELS, {"EMBEDDING_LOOKUP": 3, "FULLY_CONNECTED": 12}, ("1.0.1", "2.17.0")),
        ("INT8", ROWS, 1, {"EMBEDDING_LOOKUP": 4, "FULLY_CONNECTED": 3}, ("1.0.1", "2.18.0")),
        ("INT4", ROWS, LABELS, {"EMBEDDING_LOOKUP": 4, "FULLY_CONNECTED": 12}, ("1.0.1", "2.18.0")),
    ],
)
def test_versions_follow_from_the_weights(
    kind: str,
    row_scales: int,
    channel_scales: int,
    versions: dict[str, int],
    runtimes: tuple[str, str],
) -> None:
    model = lookup_and_linear(kind=kind, row_scales=row_scales, channel_scales=channel_scales)
    assert required_versions(model) == versions
    assert minimum_runtime(model) == {"ai-edge-litert": runtimes[0], "tensorflow": runtimes[1]}


@pytest.mark.parametrize(
    ("place", "rows", "versions", "runtimes"),
    [
        (3, LABELS, {"EMBEDDING_LOOKUP": 4, "FULLY_CONNECTED": 14}, ("2.1.0", "2.21.0")),
        (1, ROWS, {"EMBEDDING_LOOKUP": 5, "FULLY_CONNECTED": 12}, ("2.1.2", "2.21.0")),
    ],
)
def test_blockwise_weights_need_a_recent_runtime(
    place: int, rows: int, versions: dict[str, int], runtimes: tuple[str, str]
) -> None:
    model = lookup_and_linear(kind="INT4")
    scales = np.full(rows, 0.01, dtype=np.float16).view(np.uint8)  # blocks as wide as a row
    for graph in model.subgraphs:
        model.buffers.append(schema.BufferT(data=scales))
        graph.tensors.append(tensor("scales", "FLOAT16", (rows, 1), len(model.buffers) - 1))
        graph.tensors[place].quantization = schema.QuantizationParametersT(
            detailsType=schema.QuantizationDetails.BlockwiseQuantization,
            details=schema.BlockwiseQuantizationT(
                blockSize=WIDTH, scales=len(graph.tensors) - 1, zeroPoints=-1
            ),
        )
    assert required_versions(model) == versions
    assert minimum_runtime(model) == {"ai-edge-litert": runtimes[0], "tensorflow": runtimes[1]}


def test_a_file_without_stamps_is_noticed_and_stamping_mends_it(tmp_path: Path) -> None:
    model = lookup_and_linear()
    path = tmp_path / "planted.tflite"
    path.write_bytes(packed(model))
    assert tflite.shortfalls(path) == (
        "EMBEDDING_LOOKUP has version 1 and needs 4",
        "FULLY_CONNECTED has version 5 and needs 12",
    )
    stamp(model)
    path.write_bytes(packed(model))
    assert tflite.shortfalls(path) == ()
    found = load(path)
    # TANH has no use and is gone: a runtime refuses a file for a code that it lacks.
    assert sorted(c.version for c in found.operatorCodes) == [4, 12]
    (entry,) = found.metadata
    stored = bytes(bytearray(found.buffers[entry.buffer].data))
    assert stored == b"2.18.0".ljust(16, b"\0")


def test_only_the_uses_that_need_it_are_raised() -> None:
    model = lookup_and_linear()
    second = model.subgraphs[1]
    for place in (1, 3):
        second.tensors[place].quantization.scale = np.full(1, 0.01, dtype=np.float32)
        second.tensors[place].quantization.zeroPoint = np.zeros(1, dtype=np.int64)
    stamp(model)
    versions = [
        [model.operatorCodes[operator.opcodeIndex].version for operator in graph.operators]
        for graph in model.subgraphs
    ]
    assert versions == [[4, 12], [3, 5]]
    assert shortfalls_of(model) == ()


def test_packing_writes_what_is_equal_once_and_changes_no_answer() -> None:
    model = lookup_and_linear(signatures=4)
    stamp(model)
    plain, ours = plainly_packed(model), bytes(packed(model))
    weights = (ROWS + LABELS) * WIDTH
    repeated = 3 * (weights + (ROWS + LABELS) * 12)  # int8 values, float32 scales, int64 zeros
    assert len(plain) - len(ours) > repeated
    for length in (4, 5, 6, 7):
        np.testing.assert_array_equal(outputs(plain, length), outputs(ours, length))


def test_packing_loses_nothing() -> None:
    model = lookup_and_linear(signatures=3)
    back = parse(packed(model), "packed")
    for graph, expected in zip(back.subgraphs, model.subgraphs, strict=True):
        for found, wanted in zip(graph.tensors, expected.tensors, strict=True):
            assert (text(found.name), found.type) == (wanted.name, wanted.type)
            assert list(found.shape) == list(wanted.shape)
            if wanted.quantization is not None:
                np.testing.assert_array_equal(found.quantization.scale, wanted.quantization.scale)
                np.testing.assert_array_equal(values_of(back, found), values_of(model, wanted))
    assert bytes(packed(back)) == bytes(packed(model))


def test_packing_leaves_its_model_as_it_was() -> None:
    model = lookup_and_linear()
    before = plainly_packed(model)
    packed(model)
    assert plainly_packed(model) == before


def test_weights_start_at_multiples_of_16_bytes() -> None:
    data = bytes(packed(lookup_and_linear()))
    root = schema.Model.GetRootAs(data, 0)
    starts = []
    for number in range(root.BuffersLength()):
        buffer = root.Buffers(number)
        if not buffer.DataIsNone():
            field = buffer._tab.Offset(4)
            starts.append(buffer._tab.Vector(field))
    assert len(starts) == 2
    assert [start % 16 for start in starts] == [0, 0]


def test_weights_behind_the_flatbuffer_are_read() -> None:
    """Large files of the quantizer have them there; a reader that overlooks it sees none."""
    model = lookup_and_linear(signatures=1)
    expected = values_of(model, model.subgraphs[0].tensors[1]).copy()
    content = model.buffers[1].data
    # The length of the flatbuffer does not depend on the offset: pack twice.
    offset = 16
    for _ in range(2):
        model.buffers[1] = schema.BufferT(offset=offset, size=len(content))
        data = plainly_packed(model)
        offset = -(-len(data) // 16) * 16
    whole = data.ljust(offset, b"\0") + content.tobytes()
    back = parse(whole, "external")
    np.testing.assert_array_equal(values_of(back, back.subgraphs[0].tensors[1]), expected)
    inline = bytes(packed(back))
    np.testing.assert_array_equal(outputs(inline, 4), outputs(whole, 4))
    with pytest.raises(UserError, match=r"cut short|damaged"):
        parse(whole[:-1], "external")


@pytest.mark.parametrize("fault", ["no signature", "name", "outputs"])
def test_signatures_that_are_not_ours_are_refused(tmp_path: Path, fault: str) -> None:
    model = lookup_and_linear()
    for graph in model.subgraphs:  # two-dimensional inputs, as describe expects
        graph.tensors[0].shape = integers(1, int(graph.tensors[0].shape[0]))
        graph.tensors[4].shape = integers(1, LABELS)
    if fault == "no signature":
        model.signatureDefs = []
    elif fault == "name":
        model.signatureDefs[0].signatureKey = "serving_default"
    else:
        model.subgraphs[1].tensors[4].shape = integers(1, LABELS + 1)
    path = tmp_path / "other.tflite"
    path.write_bytes(packed(model))
    with pytest.raises(UserError, match=r"signature"):
        tflite.describe(path)
