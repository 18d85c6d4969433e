"""The LiteRT session without quantized activations, and its hashes of what a file stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from litert_support import tflite_spec

from export.recipes import Recipe, WeightsRule
from export.reference import reference_from_model
from export.targets import tflite
from runtime.constants_digest import REST_NAME
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec
from runtime.sessions import SessionSettings, litert_session, open_session
from runtime.sessions.base import ExactSession, WeighingSession
from runtime.sessions.litert_exact import write_exact
from runtime.sessions.litert_file import (
    constants,
    load,
    operator_name,
    save,
    schema,
    text,
    type_name,
    values_of,
)

from support import seeded_classifier

LENGTHS = (8, 16)
VOCAB = 200
QUERY = "distilbert.transformer.layer.0.attention.q_lin.weight"
KEY = "distilbert.transformer.layer.0.attention.k_lin.weight"
Edit = Callable[[Any], None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """float32 and int8."""
    model = seeded_classifier(23, vocab_size=VOCAB, max_position_embeddings=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.ndim == 2 else parameter.add_(0.1)
    folder = tmp_path_factory.mktemp("exact")
    float32, int8 = folder / "model.tflite", folder / "model_int8.tflite"
    tflite.convert(reference_from_model(model), LENGTHS, float32)
    linear, embedding = (WeightsRule("int8", each, "minmax") for each in ("channel", "row"))
    recipe = Recipe("tflite", "r", 1, "int8", "x", "", linear, embedding, {}, {})
    tflite.quantize(float32, recipe, int8)
    return float32, int8


def opened(path: Path, spec: ArtifactSpec | None = None) -> litert_session.WholeLiteRtSession:
    session = open_session(path, spec or tflite_spec(path), SessionSettings(vocab_size=VOCAB))
    assert isinstance(session, litert_session.WholeLiteRtSession)
    return session


def texts() -> tuple[np.ndarray, np.ndarray]:
    """A row for each length."""
    mask = (np.arange(16)[None] < np.array([[6], [8], [13], [16]])).astype(np.int32)
    ids = np.random.default_rng(3).integers(1, VOCAB, mask.shape, dtype=np.int32)
    return ids * mask, mask


def edited(path: Path, folder: Path, edit: Edit) -> Path:
    model = load(path)
    edit(model)
    save(model, folder / path.name)
    return folder / path.name


def tensors(model: Any, name: str) -> list[Any]:
    found = [t for graph in model.subgraphs for t in graph.tensors if text(t.name) == name]
    assert found, name
    return found


def test_a_float_file_is_exact_already(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert not write_exact(files[0], tmp_path / "x.tflite")
    assert not (tmp_path / "x.tflite").exists()
    session = opened(files[0])
    np.testing.assert_array_equal(session.run_exact(*texts()), session.run(*texts()))


def test_products_get_the_same_weights_in_float32(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert write_exact(files[1], tmp_path / "x.tflite")
    sound, exact = load(files[1]), load(tmp_path / "x.tflite")
    checked = of_activations = 0
    for old, new in zip(sound.subgraphs, exact.subgraphs, strict=True):
        assert len(old.operators) == len(new.operators)
        for before, after in zip(old.operators, new.operators, strict=True):
            assert list(before.inputs) == list(after.inputs)
            kind = operator_name(sound.operatorCodes[before.opcodeIndex])
            assert kind == operator_name(exact.operatorCodes[after.opcodeIndex])
            options = [None if o is None else vars(o) for o in (before.builtinOptions,)]
            assert options == [None if o is None else vars(o) for o in (after.builtinOptions,)], (
                kind
            )
            if kind != "FULLY_CONNECTED":
                continue
            stored, dense = old.tensors[before.inputs[1]], new.tensors[after.inputs[1]]
            codes = values_of(sound, stored)
            if codes is None:  # scores of the last block
                assert (type_name(stored), type_name(dense)) == ("FLOAT32", "FLOAT32")
                of_activations += 1
                continue
            wanted = codes * np.asarray(stored.quantization.scale)[:, None]
            assert (type_name(stored), type_name(dense)) == ("INT8", "FLOAT32")
            np.testing.assert_array_equal(values_of(exact, dense), wanted)
            assert dense.quantization is None
            checked += 1
    assert checked == len(LENGTHS) * (2 * 6 + 2)
    assert of_activations == len(LENGTHS)


def test_exact_logits_are_those_of_the_weights(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A float file that holds the int8 file's weights is another way to the same logits."""
    int8 = load(files[1])

    def put_weights(model: Any) -> None:
        for graph, other in zip(model.subgraphs, int8.subgraphs, strict=True):
            stored = {text(t.name): t for t in other.tensors}
            for tensor in graph.tensors:
                source = stored.get(text(tensor.name))
                if source is None or source.quantization is None:
                    continue
                if source.quantization.scale is None:
                    continue
                codes = values_of(int8, source)
                assert codes is not None
                dense = codes * np.asarray(source.quantization.scale)[:, None]
                model.buffers.append(schema().BufferT())
                model.buffers[-1].data = dense.reshape(-1).view(np.uint8)
                tensor.buffer = len(model.buffers) - 1

    twin = opened(edited(files[0], tmp_path, put_weights), tflite_spec(files[0]))
    session = opened(files[1])
    exact, logits = session.run_exact(*texts()), session.run(*texts())
    np.testing.assert_array_equal(exact, twin.run(*texts()))
    assert np.abs(logits - exact).max() > 1e-3  # what quantized activations do


def test_a_wrong_graph_stays_wrong(files: tuple[Path, Path], tmp_path: Path) -> None:
    def tanh_gelu(model: Any) -> None:
        for graph in model.subgraphs:
            for operator in graph.operators:
                if operator_name(model.operatorCodes[operator.opcodeIndex]) == "GELU":
                    operator.builtinOptions.approximate = True

    wrong = opened(edited(files[1], tmp_path, tanh_gelu), tflite_spec(files[1]))
    change = np.abs(wrong.run_exact(*texts()) - opened(files[1]).run_exact(*texts())).max()
    assert change > 1e-4


def test_equal_codes_with_other_scales_stay_apart(files: tuple[Path, Path], tmp_path: Path) -> None:
    def share_codes(model: Any) -> None:
        for query, key in zip(tensors(model, QUERY), tensors(model, KEY), strict=True):
            query.buffer = key.buffer

    path = edited(files[1], tmp_path, share_codes)
    assert write_exact(path, tmp_path / "x.tflite")
    model, exact = load(path), load(tmp_path / "x.tflite")
    for name in (QUERY, KEY):
        stored = tensors(model, name)[0]
        codes = values_of(model, stored)
        assert codes is not None
        wanted = codes * np.asarray(stored.quantization.scale)[:, None]
        np.testing.assert_array_equal(values_of(exact, tensors(exact, name)[0]), wanted)


def test_zero_points_count(files: tuple[Path, Path], tmp_path: Path) -> None:
    def shift(model: Any) -> None:
        for tensor in tensors(model, QUERY):
            tensor.quantization.zeroPoint = np.full(len(tensor.quantization.scale), 3, np.int64)

    path = edited(files[1], tmp_path, shift)
    assert write_exact(path, tmp_path / "x.tflite")
    model, exact = load(path), load(tmp_path / "x.tflite")
    stored = tensors(model, QUERY)[0]
    codes = values_of(model, stored)
    assert codes is not None
    wanted = (codes.astype(np.float32) - 3) * np.asarray(stored.quantization.scale)[:, None]
    np.testing.assert_array_equal(values_of(exact, tensors(exact, QUERY)[0]), wanted)


def _unsigned(model: Any) -> None:
    for tensor in tensors(model, QUERY):
        tensor.type = schema().TensorType.UINT8


def _without_scales(model: Any) -> None:
    for tensor in tensors(model, QUERY):
        tensor.quantization = None


def _quantized_activation(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[-1].inputs[0]].type = schema().TensorType.INT8


def _float16_weight(model: Any) -> None:
    for tensor in tensors(model, QUERY):
        tensor.type = schema().TensorType.FLOAT16


@pytest.mark.parametrize(
    "edit", [_unsigned, _without_scales, _quantized_activation, _float16_weight]
)
def test_unknown_quantization_is_refused(
    edit: Edit, files: tuple[Path, Path], tmp_path: Path
) -> None:
    path = edited(files[1], tmp_path, edit)
    with pytest.raises(UserError, match="cannot be run in float32") as refused:
        write_exact(path, tmp_path / "x.tflite")
    assert "FULLY_CONNECTED with" in str(refused.value)
    assert not (tmp_path / "x.tflite").exists()


def test_a_refusal_is_not_forgotten(files: tuple[Path, Path], monkeypatch: Any) -> None:
    session = opened(files[1])

    def refuse(path: Path, destination: Path) -> bool:
        raise UserError("cannot")

    monkeypatch.setattr(litert_session, "write_exact", refuse)
    for _ in range(2):
        with pytest.raises(UserError, match="cannot"):
            session.run_exact(*texts())


def test_hashes_are_the_manifests(files: tuple[Path, Path], tmp_path: Path) -> None:
    for path in files:
        spec = tflite_spec(path)
        promised = {weight.name: weight.sha256 for weight in spec.weights.stored}
        assert len(promised) > 10
        assert opened(path, spec).weight_digests() == promised
        # Written anew by another packer, it stores the same.
        copy = edited(path, tmp_path, lambda _: None)
        assert opened(copy, spec).weight_digests() == promised


def test_a_file_can_be_written_over_itself(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = edited(files[1], tmp_path, lambda _: None)
    before = digests_of(path, tflite_spec(path))
    save(load(path), path)
    assert digests_of(path, tflite_spec(path)) == before


def _one_code(model: Any) -> None:
    _change(model, tensors(model, QUERY), lambda values: values.__setitem__((5, 7), 1))


def _one_scale(model: Any) -> None:
    for tensor in tensors(model, QUERY):
        scale = np.array(tensor.quantization.scale)
        scale[3] = np.nextafter(scale[3], np.float32(1))
        tensor.quantization.scale = scale


def _one_zero_point(model: Any) -> None:
    for tensor in tensors(model, QUERY):
        tensor.quantization.zeroPoint = np.full(len(tensor.quantization.scale), 1, np.int64)


def _one_bias(model: Any) -> None:
    _change(model, tensors(model, "classifier.bias"), lambda values: values.__setitem__(0, np.nan))


def _one_epsilon(model: Any) -> None:
    found = [
        t
        for graph in model.subgraphs
        for t in graph.tensors
        if (v := values_of(model, t)) is not None and v.shape == () and 0 < v < 1e-6
    ]
    _change(model, found, lambda values: values.__setitem__((), 1e-5))


def _one_position(model: Any) -> None:
    found = [t for t in model.subgraphs[1].tensors if text(t.name).startswith("constant_")]
    found = [t for t in found if (v := values_of(model, t)) is not None and v.shape == (16,)]
    _change(model, found, lambda values: values.__setitem__(3, 4))


def _one_signature(model: Any) -> None:
    tensor = next(t for t in model.subgraphs[1].tensors if text(t.name) == QUERY)
    _change(model, [tensor], lambda values: values.__setitem__((5, 7), 1))


def _change(model: Any, found: list[Any], change: Callable[[np.ndarray], None]) -> None:
    assert found
    for tensor in found:
        values = np.array(values_of(model, tensor))
        before = values.copy()
        change(values)
        assert not np.array_equal(before, values)
        model.buffers.append(schema().BufferT())
        model.buffers[-1].data = values.reshape(-1).view(np.uint8)
        tensor.buffer = len(model.buffers) - 1


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (_one_code, QUERY),
        (_one_scale, REST_NAME),
        (_one_zero_point, REST_NAME),
        (_one_bias, REST_NAME),
        (_one_epsilon, REST_NAME),
        (_one_position, REST_NAME),
        (_one_signature, REST_NAME),
    ],
)
def test_every_change_shows(
    edit: Edit, name: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    before = digests_of(files[1], tflite_spec(files[1]))
    after = digests_of(edited(files[1], tmp_path, edit), tflite_spec(files[1]))
    assert {key for key in before if before[key] != after[key]} == {name}
    assert before.keys() == after.keys()


def digests_of(path: Path, spec: ArtifactSpec) -> dict[str, str]:
    """Without the runtime, which refuses some of the files by itself."""
    from runtime.constants_digest import digests

    return digests(constants(load(path)), [weight.name for weight in spec.weights.stored])


def test_what_a_later_signature_changes_has_its_name(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    sound = constants(load(files[1]))
    changed = constants(load(edited(files[1], tmp_path, _one_signature)))
    assert changed.keys() - sound.keys() == {f"{QUERY}@seq_16"}


def test_without_the_schema_a_session_only_runs(files: tuple[Path, Path], monkeypatch: Any) -> None:
    monkeypatch.setattr(litert_session, "missing", lambda: UserError("no schema"))
    session = open_session(files[1], tflite_spec(files[1]), SessionSettings(vocab_size=VOCAB))
    assert not isinstance(session, ExactSession)
    assert not isinstance(session, WeighingSession)
    assert session.run(*texts()).shape == (4, 3)
