"""Sentence vectors end to end: every format's bundle is green, and every planted fault is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import runtime.cli
from export.checkpoint import find_checkpoint
from export.embedding_reference import VectorsOnly, reference_of_vectors
from export.families import families
from export.pipeline import export_bundle
from export.planning import ExportSettings
from export.pooling import EmbeddingSettings
from export.recipes import recipes
from export.reference import reference_logits
from export.settings import ModelSize
from export.targets.onnx import convert
from export.training.embeddings import embed_sequences, sequences_of
from export.training.model import new_model
from export.vectors import load_encoder, task_of, vector_recipe
from runtime.bundle import GOLDEN, Bundle, open_bundle
from runtime.embed import TextEmbedder
from runtime.errors import BundleError, UserError
from runtime.golden import UNLABELLED, read_golden
from runtime.manifest import Manifest
from runtime.parity.api import gate, open_judged
from runtime.parity.gates import FIGURES
from runtime.parity.judge import judge
from runtime.parity.vectors import REQUIRED
from runtime.vector_file import text_sha256

from support import export_settings

MEAN = EmbeddingSettings("mean", normalize=True, max_length=64)
FORMATS = ("onnx", "tflite", "coreml")


def _settings(checkpoint: Path, data: Path, out: Path, **values: object) -> ExportSettings:
    return export_settings(checkpoint, data, out, **({"vectors": MEAN} | values))


@pytest.fixture(scope="module")
def vectors_folder(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path, weather_file: Path
) -> Path:
    """A green bundle of sentence vectors, float and int8. Read-only."""
    out = tmp_path_factory.mktemp("dist") / "vectors"
    exported = export_bundle(_settings(checkpoint_folder, weather_file, out))
    assert exported.bundle == out
    return out


def test_the_manifest_tells_of_vectors(vectors_folder: Path) -> None:
    manifest = open_bundle(vectors_folder).manifest
    task = manifest.task
    assert (task.kind, task.activation, task.pooling) == ("embedding", "l2", "mean")
    assert (task.labels, task.thresholds) == ((), None)
    assert not (vectors_folder / "labels.txt").exists()
    for artifact in manifest.artifacts:
        (output,) = artifact.outputs
        assert (output.name, output.dtype, output.shape[-1]) == ("embedding", "float32", 64)
        assert artifact.gate == "pass"
    assert manifest.source.architecture == "DistilBertModel"
    card = (vectors_folder / "README.md").read_text(encoding="utf-8")
    assert "Sentence vectors of 64 numbers" in card
    assert "output `embedding`" in card
    assert "logits, float32" not in card


def test_the_reference_set_has_no_labels_and_many_texts(vectors_folder: Path) -> None:
    golden = read_golden(vectors_folder / GOLDEN)
    assert len(golden.rows(UNLABELLED)) == 288
    assert all(case.targets is None for case in golden.cases)
    np.testing.assert_allclose(np.linalg.norm(golden.reference, axis=1), 1, atol=1e-5)


def test_every_artifacts_vectors_are_the_encoders(
    vectors_folder: Path, checkpoint_folder: Path
) -> None:
    _check_vectors(open_bundle(vectors_folder), checkpoint_folder)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "coreml"])
def test_the_other_formats_are_green_and_right(
    target: str, checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exported = export_bundle(_settings(checkpoint_folder, weather_file, out, targets=(target,)))
    assert exported.bundle == out
    assert {a.precision for a in exported.manifest.artifacts} >= {"int8"}
    assert {a.outputs[0].name for a in exported.manifest.artifacts} == {"embedding"}
    _check_vectors(open_bundle(out), checkpoint_folder)


def _check_vectors(bundle: Bundle, checkpoint_folder: Path) -> None:
    """Against transformers' hidden states, pooled by another function than the artifact's."""
    checkpoint = find_checkpoint(str(checkpoint_folder))
    model = load_encoder(checkpoint).eval()
    texts = ["the sky is bright today", "every roof in town is icy again", "", "Ünï 🌧 rain"]
    for artifact in bundle.manifest.artifacts:
        embedder = TextEmbedder(bundle, artifact)
        room = 1e-5 if artifact.precision == "float32" else 0.03
        for found in embedder.embed_all(texts):
            ids = torch.tensor([embedder.tokenizer.ids(found.text)])
            with torch.inference_mode():
                hidden = model.distilbert(ids).last_hidden_state[0].numpy().astype(np.float64)
            wanted = hidden.mean(axis=0)
            wanted /= np.linalg.norm(wanted)
            np.testing.assert_allclose(found.vector, wanted, rtol=0, atol=room)


def test_whole_files_get_the_same_vectors(vectors_folder: Path, checkpoint_folder: Path) -> None:
    checkpoint = find_checkpoint(str(checkpoint_folder))
    golden = read_golden(vectors_folder / GOLDEN)
    ids = [case.input_ids for case in golden.cases[:40]]
    found = embed_sequences(load_encoder(checkpoint), ids, MEAN)
    np.testing.assert_allclose(found, golden.reference[:40], rtol=0, atol=2e-6)


def test_the_gate_is_repeated_without_torch(vectors_folder: Path) -> None:
    report = gate(vectors_folder, "model.onnx")
    assert report.verdict == "pass"
    assert report.metric == "effective_rank"
    figures = report.artifacts[0].figures
    assert {check.figure for check in report.artifacts[0].checks} >= set(REQUIRED)
    assert figures["decisions"] == 288
    assert {"padding_rel", "batch_rel", "order_rel", "repeat_rel", "cold_rel", "threads_rel"} <= (
        figures.keys()
    )


def _judged(folder: Path, artifact: str) -> tuple[Any, Bundle, Any]:
    bundle, golden, gates = open_judged(folder)
    spec = bundle.artifact(artifact)
    alone = Bundle(bundle.path, replace(bundle.manifest, artifacts=(spec,)))
    return golden, alone, gates


class _Wrong(VectorsOnly):
    """The reference with one fault in it."""

    def __init__(
        self, sound: VectorsOnly, fault: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__(sound.model, sound.settings)
        self.fault = fault

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.fault(self, input_ids, attention_mask)

    def around(self, model: Any) -> _Wrong:
        """What a target writes anew has the fault, too."""
        other = _Wrong(super().around(model), self.fault)
        for name, buffer in self.named_buffers(recurse=False):
            other.register_buffer(name, buffer)
        return other


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.square().sum(-1, keepdim=True).sqrt()


def _mask_dropped_in_pooling(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _unit(m.family.hidden(m.model, ids, mask).mean(1))


def _mask_dropped_in_attention(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    hidden = m.family.hidden(m.model, ids, torch.ones_like(mask))
    weights = mask[:, :, None].to(hidden.dtype)
    return _unit((hidden * weights).sum(1) / weights.sum(1))


def _first_token_instead_of_mean(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _unit(m.family.hidden(m.model, ids, mask)[:, 0])


def _special_tokens_left_out(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    hidden = m.family.hidden(m.model, ids, mask)
    weights = mask[:, :, None].to(hidden.dtype)
    total = (hidden * weights).sum(1) - hidden[:, 0]
    return _unit(total / weights.sum(1))


def _length_not_one(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return VectorsOnly.forward(m, ids, mask) * 1.5


def _constant(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    vectors = VectorsOnly.forward(m, ids, mask)
    return vectors * 0 + m.constant


def _zeroed_layer(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return VectorsOnly.forward(m, ids, mask)


def _wrong_sign_of_one_number(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return VectorsOnly.forward(m, ids, mask) * m.signs


def _mirrored(m: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return VectorsOnly.forward(m, ids, mask).flip(-1)


# Fault → figures of which at least one must catch it, so that none is caught by luck.
FAULTS = {
    _mask_dropped_in_pooling: {"padding_rel", "batch_rel"},
    _mask_dropped_in_attention: {"padding_rel", "batch_rel"},
    _first_token_instead_of_mean: {"sqnr_db", "cosine_min", "max_rel"},
    _special_tokens_left_out: {"sqnr_db", "cosine_min", "max_rel"},
    _length_not_one: {"sqnr_db", "max_rel"},
    _constant: {"flip_rate_bound", "large_margin_flips", "neighbour_regret"},
    _zeroed_layer: {"sqnr_db", "cosine_min", "max_rel"},
    _wrong_sign_of_one_number: {"sqnr_db", "max_rel"},
    _mirrored: {"cosine", "sqnr_db"},
}


QUICK = (_mask_dropped_in_pooling, _first_token_instead_of_mean, _constant, _zeroed_layer)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            fault, id=fault.__name__.strip("_"), marks=() if fault in QUICK else pytest.mark.slow
        )
        for fault in FAULTS
    ],
)
def test_a_planted_fault_fails_the_gate(
    fault: Any, vectors_folder: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    """Exported with the fault inside, judged by the sound bundle's limits and vectors."""
    folder = tmp_path / "vectors"
    shutil.copytree(vectors_folder, folder)
    golden, alone, gates = _judged(folder, "model.onnx")
    checkpoint = find_checkpoint(str(checkpoint_folder))
    sound = reference_of_vectors(load_encoder(checkpoint), MEAN)
    wrong = _Wrong(sound.module, fault)  # type: ignore[arg-type]
    wrong.register_buffer("constant", torch.from_numpy(golden.reference[0].copy()))
    signs = torch.ones(64)
    signs[int(np.abs(golden.reference).mean(axis=0).argmax())] = -1
    wrong.register_buffer("signs", signs)
    if fault is _zeroed_layer:
        with torch.no_grad():
            wrong.model.base_model.transformer.layer[0].ffn.lin1.weight.zero_()
    convert(replace(sound, module=wrong.eval()), (32, 64), folder / "model.onnx")
    report = judge(alone, golden, gates)
    assert report.verdict == "fail"
    failed = {check.figure for check in report.artifacts[0].checks if not check.passed}
    assert failed & FAULTS[fault] == FAULTS[fault]


def test_the_sound_reference_exported_again_passes(
    vectors_folder: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    """The control: what the faults are planted with changes nothing by itself."""
    folder = tmp_path / "vectors"
    shutil.copytree(vectors_folder, folder)
    golden, alone, gates = _judged(folder, "model.onnx")
    sound = reference_of_vectors(load_encoder(find_checkpoint(str(checkpoint_folder))), MEAN)
    wrong = _Wrong(sound.module, VectorsOnly.forward)  # type: ignore[arg-type]
    convert(replace(sound, module=wrong.eval()), (32, 64), folder / "model.onnx")
    report = judge(alone, golden, gates)
    failed = {check.figure for check in report.artifacts[0].checks if not check.passed}
    assert failed <= {"changed_weights"}


def test_a_collapsed_encoder_is_unknown(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    """All texts get one vector: artifacts agree perfectly, and that means nothing."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoint_folder, broken)
    weights = load_file(broken / "model.safetensors")
    for end in ("weight", "bias"):
        weights[f"distilbert.transformer.layer.1.output_layer_norm.{end}"].mul_(0)
    weights["distilbert.transformer.layer.1.output_layer_norm.bias"].add_(1)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    exported = export_bundle(_settings(broken, weather_file, tmp_path / "out"))
    assert exported.bundle is None
    assert exported.report.verdict != "pass"
    assert any("all alike" in doubt for doubt in exported.report.reference_doubts)


def test_raw_first_token_vectors_and_a_checkpoint_without_head(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    bare = tmp_path / "bare"
    shutil.copytree(checkpoint_folder, bare)
    weights = load_file(bare / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "classifier" not in name},
        bare / "model.safetensors",
        metadata={"format": "pt"},
    )
    raw = EmbeddingSettings("cls", normalize=False, max_length=64)
    out = tmp_path / "out"
    exported = export_bundle(_settings(bare, weather_file, out, vectors=raw, recipes=("float32",)))
    assert exported.bundle == out
    assert exported.manifest.task == task_of(raw)
    golden = read_golden(out / GOLDEN)
    assert np.linalg.norm(golden.reference, axis=1).std() > 0.01


def test_the_references_batches_and_padding_change_nothing(checkpoint_folder: Path) -> None:
    checkpoint = find_checkpoint(str(checkpoint_folder))
    reference = reference_of_vectors(load_encoder(checkpoint), MEAN)
    sequences = [[2, 7, 8, 9, 3], [2, 5, 3]]
    alone = reference_logits(reference, sequences)
    ids = torch.tensor([[2, 7, 8, 9, 3, 0], [2, 5, 3, 0, 0, 0]], dtype=torch.int32)
    mask = (ids != 0).to(torch.int32)
    with torch.inference_mode():
        padded = reference.module(ids, mask).numpy()
    np.testing.assert_allclose(padded, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(families()))
def test_every_familys_encoder_loses_its_head_and_nothing_else(name: str) -> None:
    torch.manual_seed(5)
    family = families()[name]
    size = ModelSize(vocab_size=300, dim=32, layers=1, heads=2, hidden_dim=64)
    texts = ["the sky is blue today", "rain again and again", "snow on every roof"] * 10
    model, _ = new_model(family, size, texts, ("a", "b"), max_length=32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    reference = reference_of_vectors(model, MEAN)
    kept = reference.module.model.state_dict()
    assert kept.keys() == {key for key in before if not family.head.match(key)}
    assert model.state_dict().keys() == before.keys()
    ids = torch.tensor([[5, 6, 7, 8, 9, 3]], dtype=torch.int32)
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        hidden = family.hidden(model.eval(), ids, mask)[0]
        vector = reference.module(ids, mask)[0]
    torch.testing.assert_close(vector, torch.nn.functional.normalize(hidden.mean(0), dim=0))


def test_every_default_recipe_has_a_gate_for_vectors() -> None:
    for target in FORMATS:
        for recipe in recipes(target).values():
            if not recipe.default:
                continue
            for architecture, limits in vector_recipe(recipe).gate.items():
                assert set(REQUIRED) <= set(limits) <= set(FIGURES)
                for name, limit in limits.items():
                    seen = recipe.vector_observed[architecture][name]
                    good = seen <= limit if FIGURES[name].bound == "max" else seen >= limit
                    assert good, f"{recipe.file} {name}: observed {seen}, limit {limit}"


def test_a_recipe_without_such_a_gate_is_refused(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    settings = _settings(checkpoint_folder, weather_file, tmp_path / "out", recipes=("int8_avx2",))
    with pytest.raises(UserError, match="no gate for sentence vectors"):
        export_bundle(settings)
    classes = _settings(
        checkpoint_folder,
        weather_file,
        tmp_path / "out",
        targets=("coreml",),
        options={"outputs": "classifier"},
    )
    with pytest.raises(UserError, match="no classes"):
        export_bundle(classes)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["a"]},
        {"pooling": None},
        {"activation": "softmax"},
        {"thresholds": [0.5]},
        {"kind": "single_label", "activation": "softmax"},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    vectors_folder: Path, change: dict[str, Any]
) -> None:
    value = json.loads((vectors_folder / "manifest.json").read_bytes())
    assert Manifest.from_json(value).task.gives_vectors
    value["task"] |= change
    with pytest.raises(BundleError):
        Manifest.from_json(value)


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(runtime.cli.app, list(arguments))


def test_the_command_prints_and_writes_vectors(vectors_folder: Path, tmp_path: Path) -> None:
    texts = ["the sky is bright today", "the lake is icy again"]
    shown = _run("embed", str(vectors_folder), *texts, "--artifact", "model.onnx")
    assert shown.exit_code == 0
    assert "64 numbers" in shown.output
    lines = tmp_path / "texts.txt"
    lines.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    out = tmp_path / "v.npz"
    written = _run(
        "embed",
        str(vectors_folder),
        "-f",
        str(lines),
        "--out",
        str(out),
        "--artifact",
        "model.onnx",
    )
    assert written.exit_code == 0
    as_json = _run("embed", str(vectors_folder), texts[0], "--json", "--artifact", "model.onnx")
    with np.load(out, allow_pickle=False) as found:
        assert found["sha256"].tolist() == [text_sha256(text) for text in texts]
        assert json.loads(str(found["about"]))["pooling"] == "mean"
        vector = np.array(json.loads(as_json.output)["vector"], dtype=np.float32)
        np.testing.assert_array_equal(found["vectors"][0], vector)


def test_commands_for_labels_refuse_vectors_and_the_other_way_round(
    vectors_folder: Path, bundle_folder: Path
) -> None:
    for arguments, words in (
        (("classify", str(vectors_folder), "x"), "no labels"),
        (("embed", str(bundle_folder), "x"), "no sentence vectors"),
        (("parity", "bisect", str(vectors_folder)), "cannot be bisected"),
    ):
        result = _run(*arguments)
        assert isinstance(result.exception, UserError)
        assert words in str(result.exception)


def test_inspect_and_reports_tell_of_vectors(vectors_folder: Path, tmp_path: Path) -> None:
    assert "sentence vectors of 64 numbers, mean pooling" in _run(
        "inspect", str(vectors_folder)
    ).output.replace("\n", " ")
    page, junit = tmp_path / "p.html", tmp_path / "j.xml"
    arguments = ("parity", str(vectors_folder), "--artifact", "model.onnx")
    result = _run(*arguments, "--html", str(page), "--junit", str(junit))
    assert result.exit_code == 0, result.output
    assert "nearest neighbour among the natural texts" in page.read_text(encoding="utf-8")
    assert "neighbour_regret" in junit.read_text(encoding="utf-8")


def test_texts_are_cut_as_the_tokenizer_says(checkpoint_folder: Path) -> None:
    from export.checkpoint import load_tokenizer

    tokenizer = load_tokenizer(find_checkpoint(str(checkpoint_folder)))
    ids, cut = sequences_of(tokenizer, ["sky " * 100, "sky"], 16)
    assert (len(ids[0]), cut) == (16, 1)
