"""TFLite: convert, quantize, describe, against PyTorch and against an independent quantizer."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from export.families import families
from export.families.plain import plain_of
from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model
from export.targets import targets, tflite
from export.targets.precision import check_precision
from export.targets.tflite import _convert, _quantize
from export.targets.tflite._flatbuffer import load, values_of
from export.targets.tflite._packing import packed
from runtime.constants_digest import REST_NAME
from runtime.errors import UserError
from runtime.manifest import TensorSpec
from runtime.sessions.litert_file import text

LENGTHS = (8, 16, 32)
LABELS = 3
VOCAB = 500


def tiny_reference(seed: int = 7) -> Reference:
    torch.manual_seed(seed)
    config = DistilBertConfig(
        vocab_size=VOCAB,
        dim=64,
        n_layers=2,
        n_heads=4,
        hidden_dim=256,
        max_position_embeddings=48,
        num_labels=LABELS,
    )
    model = DistilBertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Sensitive logits, and LayerNorms and biases that the converter cannot leave out.
            if parameter.ndim == 2:
                parameter.mul_(8.0)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return reference_from_model(model)


def recipe(
    linear: tuple[str, str, str] = ("int8", "channel", "minmax"),
    embedding: tuple[str, str, str] = ("int8", "row", "minmax"),
) -> Recipe:
    return Recipe(
        target="tflite",
        name="under_test",
        version=1,
        precision="int8",
        file="x.tflite",
        summary="",
        linear=WeightsRule(*linear),
        embedding=WeightsRule(*embedding),
        gate={},
        observed={},
    )


@dataclass(frozen=True)
class Made:
    reference: Reference
    folder: Path
    float32: Path
    int8: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tflite")
    reference = tiny_reference()
    tflite.convert(reference, LENGTHS, folder / "model.tflite")
    tflite.quantize(folder / "model.tflite", recipe(), folder / "model_int8.tflite")
    return Made(reference, folder, folder / "model.tflite", folder / "model_int8.tflite")


def batch(rows: int, length: int, tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ids = random.integers(1, VOCAB, (rows, length), dtype=np.int32)
    mask = np.zeros((rows, length), dtype=np.int32)
    mask[:, :tokens] = 1
    return ids * mask, mask


def run(path: Path | bytes, length: int, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    where = {"model_content": path} if isinstance(path, bytes) else {"model_path": str(path)}
    runner = Interpreter(num_threads=1, **where).get_signature_runner(f"seq_{length}")
    rows = [
        runner(input_ids=ids[i : i + 1], attention_mask=mask[i : i + 1])["logits"].copy()
        for i in range(len(ids))
    ]
    return np.concatenate(rows)


def truth(reference: Reference, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def test_the_target_is_found_by_name() -> None:
    assert targets()["tflite"].SUFFIX == ".tflite"
    assert targets()["tflite"].available() is None


@pytest.mark.parametrize("length", LENGTHS)
def test_float32_agrees_with_pytorch_at_every_length(made: Made, length: int) -> None:
    ids, mask = batch(8, length, length - 3, seed=length)
    expected = truth(made.reference, ids, mask)
    assert np.ptp(expected, axis=0).min() > 0.5  # inputs matter, or the comparison would not
    np.testing.assert_allclose(run(made.float32, length, ids, mask), expected, atol=5e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_int8_is_close_to_pytorch_and_is_not_float32(made: Made, length: int) -> None:
    ids, mask = batch(16, length, length, seed=length)
    expected = truth(made.reference, ids, mask)
    difference = np.abs(run(made.int8, length, ids, mask) - expected)
    assert 1e-4 < difference.max() < 0.15 * np.ptp(expected)


def test_padding_and_length_do_not_move_the_logits(made: Made) -> None:
    ids, mask = batch(4, 8, 6, seed=1)
    short = run(made.float32, 8, ids, mask)
    filled = np.pad(ids, ((0, 0), (0, 24)), constant_values=17)  # whatever is masked is not seen
    wide = run(made.float32, 32, filled, np.pad(mask, ((0, 0), (0, 24))))
    np.testing.assert_allclose(wide, short, atol=5e-5)


def test_rewriting_the_file_moves_no_bit(made: Made) -> None:
    raw = made.folder / "raw.tflite"
    module = plain_of(made.reference, one_position=True).module
    _convert._run_converter(_convert._NamedOutput(module, "logits"), LENGTHS, raw)
    marked = _quantize._with_unique_names(load(made.float32))
    raw_int8 = _quantize._run_quantizer(bytes(packed(marked)), _quantize._wanted(marked, recipe()))
    for length in LENGTHS:
        ids, mask = batch(4, length, length - 1, seed=3)
        for before, after in ((raw, made.float32), (raw_int8, made.int8)):
            np.testing.assert_array_equal(
                run(before, length, ids, mask), run(after, length, ids, mask)
            )
    assert made.float32.stat().st_size < raw.stat().st_size
    assert made.int8.stat().st_size < len(raw_int8)


def test_more_lengths_do_not_copy_weights(made: Made) -> None:
    one, one_int8 = made.folder / "one.tflite", made.folder / "one_int8.tflite"
    tflite.convert(made.reference, LENGTHS[-1:], one)
    tflite.quantize(one, recipe(), one_int8)
    # What two more lengths may cost is their graph: names, shapes, operators.
    assert made.float32.stat().st_size - one.stat().st_size < 30_000
    assert made.int8.stat().st_size - one_int8.stat().st_size < 30_000
    assert [spec.shape for spec in tflite.describe(one).inputs] == [(1, 32), (1, 32)]


def test_describe_tells_inputs_outputs_lengths_and_runtimes(made: Made) -> None:
    for path, tensorflow in ((made.float32, "2.9.0"), (made.int8, "2.18.0")):
        found = tflite.describe(path)
        assert found.inputs == (
            TensorSpec("input_ids", "int32", (1, "length")),
            TensorSpec("attention_mask", "int32", (1, "length")),
        )
        assert found.outputs == (TensorSpec("logits", "float32", (1, LABELS)),)
        assert found.lengths == LENGTHS
        assert found.minimum_runtime == {"ai-edge-litert": "1.0.1", "tensorflow": tensorflow}
        # The scores of the last block are a product of two activations: one more each length.
        assert found.operators["FULLY_CONNECTED"] == 3 * (2 * 6 + 2 + 1)
        assert found.operators["EMBEDDING_LOOKUP"] == 3 * 2


def test_describe_names_every_weight_once_with_role_and_scales(made: Made) -> None:
    weights = {weight.name: weight for weight in tflite.describe(made.int8).weights}
    assert len(weights) == len(tflite.describe(made.int8).weights)
    state = made.reference.module.model.state_dict()
    large = {n: tuple(v.shape) for n, v in state.items() if v.ndim == 2 and v.numel() >= 256}
    large["distilbert.embeddings.position_embeddings.weight"] = (LENGTHS[-1], 64)
    found = {n: w.shape for n, w in weights.items() if w.role in ("linear", "embedding")}
    assert found == {n: s for n, s in large.items() if n != "classifier.weight"}
    assert [name for name, weight in weights.items() if weight.role == "rest"] == [REST_NAME]
    for name, weight in weights.items():
        if weight.role == "rest":
            continue
        if weight.role == "other":
            assert (weight.precision, weight.scales) == ("float32", 0), name
        else:
            assert (weight.precision, weight.scales) == ("int8", weight.shape[0]), name
            assert (weight.role == "embedding") == ("embeddings" in name)
    check_precision(tflite.describe(made.int8), recipe(), "model_int8.tflite")


def test_int8_weights_are_those_of_an_independent_quantizer(made: Made) -> None:
    model = load(made.float32)
    floats = {text(t.name): t for t in model.subgraphs[0].tensors}
    checked = 0
    quantized = load(made.int8)
    for tensor in quantized.subgraphs[0].tensors:
        if tensor.quantization is None or tensor.quantization.scale is None:
            continue
        values = values_of(model, floats[text(tensor.name)])
        scale = np.abs(values).max(axis=1) / np.float32(127.0)
        # [PAD]'s row is all zeros: any scale serves.
        expected = np.rint(values / np.where(scale > 0, scale, 1)[:, None]).clip(-127, 127)
        np.testing.assert_array_equal(values_of(quantized, tensor), expected.astype(np.int8))
        used = np.asarray(tensor.quantization.scale)[scale > 0]
        np.testing.assert_allclose(used, scale[scale > 0], rtol=1e-6)
        assert not np.any(tensor.quantization.zeroPoint)
        checked += 1
    assert checked == 2 * 6 + 2 + 2


def test_a_row_of_zeros_has_a_usable_scale_with_octav(made: Made) -> None:
    rule = recipe(("int8", "channel", "octav"), ("int8", "row", "octav"))
    path = made.folder / "octav.tflite"
    tflite.quantize(made.float32, rule, path)
    model = load(path)
    (table,) = (t for t in model.subgraphs[0].tensors if "word_embeddings.weight" in text(t.name))
    assert not values_of(model, table)[0].any()  # [PAD]
    assert np.isfinite(table.quantization.scale).all() and (table.quantization.scale > 0).all()
    assert path.read_bytes() != made.int8.read_bytes()
    ids, mask = batch(16, 16, 16, seed=5)
    expected = truth(made.reference, ids, mask)
    assert np.abs(run(path, 16, ids, mask) - expected).max() < 0.15 * np.ptp(expected)


@pytest.mark.parametrize(
    ("rule", "scales"),
    [
        (recipe(("int8", "tensor", "minmax"), ("int8", "tensor", "minmax")), (1, 1)),
        (recipe(embedding=("float32", "none", "none")), (64, 0)),
        (recipe(linear=("float32", "none", "none")), (0, VOCAB)),
    ],
)
def test_other_rules_reach_the_file(made: Made, rule: Recipe, scales: tuple[int, int]) -> None:
    path = made.folder / "other.tflite"
    tflite.quantize(made.float32, rule, path)
    weights = {weight.name: weight.scales for weight in tflite.describe(path).weights}
    assert weights["pre_classifier.weight"] == scales[0]
    assert weights["distilbert.embeddings.word_embeddings.weight"] == scales[1]
    assert tflite.shortfalls(path) == ()
    check_precision(tflite.describe(path), rule, "other.tflite")


def test_a_recipe_without_int8_gives_the_same_file(made: Made) -> None:
    none = ("float32", "none", "none")
    tflite.quantize(made.float32, recipe(none, none), made.folder / "same.tflite")
    assert (made.folder / "same.tflite").read_bytes() == made.float32.read_bytes()


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (recipe(("uint4", "channel", "minmax")), "uint4"),
        (recipe(("int8", "row", "minmax")), "row"),
        (recipe(embedding=("int8", "channel", "minmax")), "channel"),
        (recipe(embedding=("int8", "row", "percentile")), "percentile"),
    ],
)
def test_a_rule_that_the_format_cannot_follow_is_refused(
    made: Made, rule: Recipe, word: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=word):
        tflite.quantize(made.float32, rule, tmp_path / "never.tflite")
    assert not (tmp_path / "never.tflite").exists()


def test_a_silent_skip_of_the_quantizer_is_noticed(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = _quantize._run_quantizer

    def only_embeddings(data: bytes, wanted: _quantize._Wanted) -> bytes:
        return real(data, {key: names for key, names in wanted.items() if key[0] == "embedding"})

    monkeypatch.setattr(_quantize, "_run_quantizer", only_embeddings)
    with pytest.raises(UserError, match=r"did not follow.*float32"):
        tflite.quantize(made.float32, recipe(), tmp_path / "never.tflite")
    assert not (tmp_path / "never.tflite").exists()


def test_a_quantized_file_is_not_quantized_again(made: Made) -> None:
    with pytest.raises(UserError, match="already"):
        tflite.quantize(made.int8, recipe(), made.folder / "never.tflite")


@pytest.mark.parametrize("lengths", [(), (16, 8), (8, 8), (1, 8), (8, 49)])
def test_impossible_lengths_are_refused(made: Made, lengths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="length"):
        tflite.convert(made.reference, lengths, made.folder / "never.tflite")


def test_a_model_that_cannot_be_expressed_is_a_user_error(made: Made) -> None:
    class Data(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return input_ids.float() if attention_mask.sum().item() > 3 else -input_ids.float()

    module = Data()
    # Of a family that is converted as transformers writes it.
    module.model, module.family = torch.nn.Identity(), families()["mobilebert"]
    broken = dataclasses.replace(made.reference, module=module)
    with pytest.raises(UserError, match="cannot express"):
        tflite.convert(broken, (8,), made.folder / "never.tflite")


def test_damaged_files_are_refused(made: Made, tmp_path: Path) -> None:
    whole = made.int8.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"not a model at all",
        "truncated": whole[: len(whole) // 2],
        "identifier": whole[:4] + b"ONNX" + whole[8:],
        "offset": (2**31 - 8).to_bytes(4, "little") + whole[4:],
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            tflite.describe(path)
    with pytest.raises(UserError, match="cannot be read"):
        tflite.describe(tmp_path / "missing.tflite")


@pytest.mark.slow
def test_the_bytes_depend_on_nothing_but_the_model(made: Made, tmp_path: Path) -> None:
    """Another process, folder and hash seed give the same files, without a word on the way."""
    script = (
        "import importlib.util, sys, pathlib\n"
        "spec = importlib.util.spec_from_file_location('again', sys.argv[1])\n"
        "again = importlib.util.module_from_spec(spec); sys.modules['again'] = again\n"
        "spec.loader.exec_module(again)\n"
        "reference = again.tiny_reference()\n"
        "print('start', flush=True); print('start', file=sys.stderr, flush=True)\n"
        "f, q = pathlib.Path('f.tflite'), pathlib.Path('q.tflite')\n"
        "again.tflite.convert(reference, again.LENGTHS, f)\n"
        "again.tflite.quantize(f, again.recipe(), q)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, __file__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "99", "LANG": "C"},
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    for name, ours in (("f.tflite", made.float32), ("q.tflite", made.int8)):
        theirs = (tmp_path / name).read_bytes()
        assert hashlib.sha256(theirs).digest() == hashlib.sha256(ours.read_bytes()).digest()
        assert str(root).encode() not in theirs and str(tmp_path).encode() not in theirs
    assert done.stdout.split() == ["start"]
    assert done.stderr.partition("start\n")[2] == ""
