"""TFLite's stored weights: taken out of the file, compared with the originals, used by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from litert_support import opened_tflite

from export.artifacts import effective_reference
from export.families.plain import plain_of
from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import tflite
from export.targets.tflite._folding import Folding, foldings, norms_before
from runtime.errors import UserError
from runtime.sessions.base import ExactSession
from runtime.sessions.litert_file import load, save, schema, text, values_of

from support import seeded_classifier

LENGTHS = (8, 16)
VOCAB = 200
LAYER = "distilbert.transformer.layer.0."
QUERY, LIN1 = f"{LAYER}attention.q_lin", f"{LAYER}ffn.lin1"
NORM = f"{LAYER}sa_layer_norm"
WORDS = "distilbert.embeddings.word_embeddings.weight"
POSITIONS = "distilbert.embeddings.position_embeddings.weight"


def recipe(precision: str, algorithm: str = "minmax", *, per: str = "") -> Recipe:
    if precision == "float32":
        linear = embedding = WeightsRule("float32", "none", "none")
    else:
        linear = WeightsRule("int8", per or "channel", algorithm)
        embedding = WeightsRule("int8", per or "row", algorithm)
    return Recipe("tflite", "r", 1, precision, "x", "", linear, embedding, {}, {})


def random_reference(*, norms: bool = True) -> Reference:
    model = seeded_classifier(31, vocab_size=VOCAB, max_position_embeddings=24)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
            elif norms or "norm" not in name.lower():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        if norms:
            model.distilbert.transformer.layer[1].sa_layer_norm.weight[3] = 0.0
            model.distilbert.embeddings.word_embeddings.weight[0] = 0.0
    return reference_from_model(model)


@dataclass(frozen=True)
class Made:
    reference: Reference
    files: dict[str, Path]

    def job(self, precision: str, algorithm: str = "minmax", *, per: str = "") -> Any:
        source = SimpleNamespace(reference=self.reference, lengths=LENGTHS)
        return SimpleNamespace(source=source, recipe=recipe(precision, algorithm, per=per))


def make(reference: Reference, folder: Path) -> Made:
    files = {name: folder / f"{name}.tflite" for name in ("float32", "int8")}
    tflite.convert(reference, LENGTHS, files["float32"])
    tflite.quantize(files["float32"], recipe("int8"), files["int8"])
    return Made(reference, files)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(random_reference(), tmp_path_factory.mktemp("effective"))


def exact_logits(path: Path, rows: list[list[int]]) -> np.ndarray:
    session = opened_tflite(path)
    assert isinstance(session, ExactSession)
    ids = [np.array([row], dtype=np.int32) for row in rows]
    return np.concatenate([session.run_exact(each, np.ones_like(each)) for each in ids])


def rows() -> list[list[int]]:
    random = np.random.default_rng(5)
    return [random.integers(1, VOCAB, count).tolist() for count in (2, 8, 9, 16)]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pytorch_with_these_weights_computes_what_the_graph_does(
    precision: str, made: Made
) -> None:
    found = tflite.effective(made.files[precision], made.job(precision))
    own = reference_logits(effective_reference(made.reference, found), rows())
    scale = np.sqrt(np.square(own).mean())
    assert np.abs(exact_logits(made.files[precision], rows()) - own).max() < 1e-5 * scale
    compression = np.abs(own - reference_logits(made.reference, rows())).max() / scale
    assert compression > 1e-3 if precision == "int8" else compression < 1e-5
    assert found.layer_norm_eps == np.float32(1e-12)
    unused = made.reference.module.model.state_dict()[POSITIONS][LENGTHS[-1] :].numpy()
    np.testing.assert_array_equal(found.tensors[POSITIONS][LENGTHS[-1] :], unused)


@pytest.mark.parametrize(
    ("algorithm", "per"), [("octav", ""), ("minmax", "tensor"), ("octav", "tensor")]
)
def test_every_way_to_quantize_is_known(
    algorithm: str, per: str, made: Made, tmp_path: Path
) -> None:
    path = tmp_path / "other.tflite"
    tflite.quantize(made.files["float32"], recipe("int8", algorithm, per=per), path)
    found = tflite.effective(path, made.job("int8", algorithm, per=per))
    own = reference_logits(effective_reference(made.reference, found), rows())
    scale = np.sqrt(np.square(own).mean())
    assert np.abs(exact_logits(path, rows()) - own).max() < 1e-5 * scale


def test_norms_that_do_nothing_are_left_out_of_the_file(tmp_path: Path) -> None:
    fresh = make(random_reference(norms=False), tmp_path)
    for precision, path in fresh.files.items():
        stored = {text(t.name) for t in load(path).subgraphs[0].tensors}
        assert not any("norm.weight" in name for name in stored)
        found = tflite.effective(path, fresh.job(precision))
        own = reference_logits(effective_reference(fresh.reference, found), rows())
        scale = np.sqrt(np.square(own).mean())
        assert np.abs(exact_logits(path, rows()) - own).max() < 1e-5 * scale


def edited(path: Path, folder: Path, name: str, change: Callable[[np.ndarray], None]) -> Path:
    model = load(path)
    for graph in model.subgraphs:
        (tensor,) = (t for t in graph.tensors if text(t.name) == name)
        values = np.array(values_of(model, tensor))
        before = values.copy()
        change(values)
        assert not np.array_equal(before, values)
        model.buffers.append(schema().BufferT())
        model.buffers[-1].data = values.reshape(-1).view(np.uint8)
        tensor.buffer = len(model.buffers) - 1
    save(model, folder / "changed.tflite")
    return folder / "changed.tflite"


def one(place: tuple[int, ...], change: Callable[[Any], Any]) -> Callable[[np.ndarray], None]:
    return lambda values: values.__setitem__(place, change(values[place]))


def whole(change: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], None]:
    return lambda values: values.__setitem__(..., change(values.copy()))


FLOAT_FAULTS = {
    "another digit": (f"{LIN1}.weight", one((4, 5), lambda v: v * np.float32(1.00001) + 1e-5)),
    "scaled by two per cent": (f"{QUERY}.weight", whole(lambda v: v * np.float32(1.02))),
    "nan": (f"{LIN1}.weight", one((0, 0), lambda _: np.nan)),
    "a table's digit": (WORDS, one((7, 7), lambda v: np.nextafter(v, np.float32(9)))),
    "a shifted bias": (f"{QUERY}.bias", whole(lambda v: v + np.float32(1e-3))),
    "an infinite bias": ("classifier.bias", one((1,), lambda _: np.inf)),
    "a norm's digit": (f"{NORM}.weight", one((2,), lambda v: np.nextafter(v, np.float32(9)))),
    "a norm's shift": (f"{NORM}.bias", one((2,), lambda _: 0.0)),
}
INT8_FAULTS = {
    "a code": (f"{LIN1}.weight", one((4, 5), lambda v: v + (1 if v < 100 else -1))),
    "a row of zeros": (WORDS, one((9,), lambda _: 0)),
    "rows moved": (WORDS, whole(lambda v: np.roll(v, 1, axis=0))),
    "a sign": (f"{LIN1}.weight", whole(np.negative)),
    "below the range": (f"{QUERY}.weight", one((0, 0), lambda _: -128)),
    "positions moved": (POSITIONS, whole(lambda v: np.roll(v, 1, axis=0))),
}


@pytest.mark.parametrize("fault", FLOAT_FAULTS)
def test_a_wrong_float_is_refused(fault: str, made: Made, tmp_path: Path) -> None:
    name, change = FLOAT_FAULTS[fault]
    path = edited(made.files["float32"], tmp_path, name, change)
    with pytest.raises(UserError, match=f"the stored weight {name} is not"):
        tflite.effective(path, made.job("float32"))


@pytest.mark.parametrize("fault", INT8_FAULTS)
def test_a_wrong_code_is_refused(fault: str, made: Made, tmp_path: Path) -> None:
    name, change = INT8_FAULTS[fault]
    path = edited(made.files["int8"], tmp_path, name, change)
    with pytest.raises(UserError, match=f"the stored weight {name} is not"):
        tflite.effective(path, made.job("int8"))


@pytest.mark.parametrize("name", [f"{LIN1}.weight", WORDS])
@pytest.mark.parametrize("value", [1.00001, 0.5, 0.0, np.nan])
def test_a_wrong_scale_is_refused(name: str, value: float, made: Made, tmp_path: Path) -> None:
    model = load(made.files["int8"])
    for graph in model.subgraphs:
        (tensor,) = (t for t in graph.tensors if text(t.name) == name)
        scale = np.array(tensor.quantization.scale)
        scale[3] *= np.float32(value)
        tensor.quantization.scale = scale
    save(model, tmp_path / "x.tflite")
    with pytest.raises(UserError, match=f"{name} is not what.*1 of .* scales do not follow"):
        # The runtime refuses some of these by itself.
        effective_unverified(tmp_path / "x.tflite", made.job("int8"))


def effective_unverified(path: Path, job: Any) -> Any:
    from export.targets.tflite import _effective

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_effective, "load", load)
        return _effective.effective_of(path, job)


def test_swapped_layers_are_refused(made: Made, tmp_path: Path) -> None:
    model = load(made.files["int8"])
    other = QUERY.replace("q_lin", "k_lin")
    for graph in model.subgraphs:
        one, two = (
            next(t for t in graph.tensors if text(t.name) == f"{name}.weight")
            for name in (QUERY, other)
        )
        one.name, two.name = two.name, one.name
    save(model, tmp_path / "x.tflite")
    with pytest.raises(UserError, match="is not what the recipe makes of the original"):
        tflite.effective(tmp_path / "x.tflite", made.job("int8"))


def test_signatures_must_store_the_same(made: Made, tmp_path: Path) -> None:
    model = load(made.files["float32"])
    tensor = next(t for t in model.subgraphs[1].tensors if text(t.name) == f"{QUERY}.bias")
    model.buffers.append(schema().BufferT())
    model.buffers[-1].data = np.zeros(64, np.float32).view(np.uint8)
    tensor.buffer = len(model.buffers) - 1
    save(model, tmp_path / "x.tflite")
    with pytest.raises(UserError, match=f"signatures have different values of {QUERY}.weight"):
        tflite.effective(tmp_path / "x.tflite", made.job("float32"))


def test_weights_of_another_model_are_refused(made: Made) -> None:
    other = Made(reference_from_model(seeded_classifier(1, vocab_size=VOCAB)), made.files)
    with pytest.raises(UserError, match="is not what the recipe makes of the original"):
        tflite.effective(made.files["int8"], other.job("int8"))


def test_what_is_taken_out_was_put_in() -> None:
    random = np.random.default_rng(2)
    layer, norm = "distilbert.transformer.layer.1.attention.k_lin", f"{LAYER}output_layer_norm"
    originals = {
        f"{layer}.weight": random.normal(size=(6, 8)).astype(np.float32),
        f"{layer}.bias": random.normal(size=6).astype(np.float32),
        f"{norm}.weight": random.normal(size=8).astype(np.float32),
        f"{norm}.bias": random.normal(size=8).astype(np.float32),
    }
    originals[f"{norm}.weight"][2] = 0.0
    known = foldings(layer, (norm,), head_width=16)
    assert known[0] == Folding(norm, 0.5)
    assert known[-1].is_nothing
    for folding in known:
        stored = folding.folded(layer, originals)
        found = folding.unfolded(layer, *stored, originals)
        for name, value in zip(("weight", "bias"), found, strict=True):
            np.testing.assert_allclose(value, originals[f"{layer}.{name}"], atol=2e-6)
    x = random.normal(size=8)
    weight, bias = known[0].folded(layer, originals)
    through = originals[f"{norm}.weight"] * x + originals[f"{norm}.bias"]
    expected = originals[f"{layer}.weight"] @ through + originals[f"{layer}.bias"]
    np.testing.assert_allclose(weight @ x + bias, 0.5 * expected, atol=2e-6)


def test_only_queries_and_keys_are_scaled() -> None:
    assert foldings("classifier", (), 16) == (Folding("", 1.0),)
    values = foldings(QUERY.replace("q_lin", "v_lin"), ("distilbert.embeddings.LayerNorm",), 16)
    assert values == (Folding("distilbert.embeddings.LayerNorm", 1.0), Folding("", 1.0))
    assert [f.factor for f in foldings(QUERY, ("n",), 16)] == [0.5, 0.25, 1.0] * 2


def test_which_layer_is_behind_which_norm_is_seen_when_the_model_runs() -> None:
    found = norms_before(plain_of(random_reference()))
    last, first = "distilbert.transformer.layer.1.", "distilbert.transformer.layer.0."
    assert found == {
        **{f"{first}attention.{n}_lin": ("distilbert.embeddings.LayerNorm",) for n in "qkv"},
        **{f"{last}attention.{n}_lin": (f"{first}output_layer_norm",) for n in "qkv"},
        f"{first}ffn.lin1": (f"{first}sa_layer_norm",),
        f"{last}ffn.lin1": (f"{last}sa_layer_norm",),
        "pre_classifier": (f"{last}output_layer_norm",),
    }
