"""From the command line to a green bundle of a smaller model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.pipeline import export_bundle
from export.shrinking.settings import ShrinkSettings
from runtime.bundle import open_bundle
from runtime.classify import TextClassifier
from runtime.errors import UserError
from runtime.tokenizer import TextTokenizer

from support import TINY_SETTINGS, export_settings


@pytest.mark.slow
def test_a_pruned_model_in_both_formats(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path, bundle_folder: Path
) -> None:
    out = tmp_path / "weather"
    settings = export_settings(
        checkpoint_folder,
        weather_file,
        out,
        targets=("onnx", "tflite"),
        shrink=ShrinkSettings(corpus="data"),
    )
    exported = export_bundle(settings)
    assert exported.report.verdict == "pass"
    bundle = open_bundle(out)
    spec = bundle.manifest.tokenizer
    whole = open_bundle(bundle_folder).manifest
    assert spec.vocab_size < whole.tokenizer.vocab_size
    assert bundle.manifest.source.parameters < whole.source.parameters
    lines = (out / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == spec.vocab_size
    assert TextTokenizer(out / spec.file, spec).vocabulary() == lines
    # A text of the data gets the larger model's answer from every artifact.
    texts = ["the lake is frozen over since noon", "our street is drenched again"]
    large = {a.path: a for a in whole.artifacts}
    for artifact in (a for a in bundle.manifest.artifacts if a.precision == "float32"):
        small = TextClassifier(bundle, artifact)
        old = TextClassifier(open_bundle(bundle_folder), large[artifact.path])
        for now, was in zip(small.classify_all(texts), old.classify_all(texts), strict=True):
            assert now.labels == was.labels
            for label, probability in was.probabilities.items():
                assert now.probabilities[label] == pytest.approx(probability, abs=1e-4)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "What was left out of the model before it was exported" in card
    assert f"{spec.vocab_size:,} of {whole.tokenizer.vocab_size:,} tokens" in card
    # A second export finds the smaller checkpoint again, and makes the same bundle.
    folders = sorted(settings.checkpoints.iterdir())
    assert len(folders) == 1
    stamp = (folders[0] / "shrinking.json").stat().st_mtime_ns
    first = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    export_bundle(settings)
    assert (folders[0] / "shrinking.json").stat().st_mtime_ns == stamp
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == first


def test_a_shallower_model_learns_again(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "weather"
    settings = export_settings(
        checkpoint_folder,
        weather_file,
        out,
        shrink=ShrinkSettings(drop_layers=(1,)),
        fine_tune="always",
    )
    hyper = TINY_SETTINGS.hyperparameters
    model = replace(settings.model, hyperparameters=hyper, run=TINY_SETTINGS.run)
    exported = export_bundle(replace(settings, model=model))
    assert exported.bundle == out
    assert exported.training is not None
    assert exported.training.validation["accuracy"] > 0.9
    checkpoint = exported.training.checkpoint
    assert json.loads((checkpoint / "config.json").read_bytes())["n_layers"] == 1
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "layers 0 of 2, from 0" in card


@pytest.mark.slow
def test_a_model_from_scratch_is_shrunk_once_it_has_learned(
    weather_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "weather"
    settings = export_settings(
        Path("small"),
        weather_file,
        out,
        shrink=ShrinkSettings(corpus="data"),
        fine_tune="auto",
    )
    exported = export_bundle(replace(settings, model=TINY_SETTINGS))
    assert exported.bundle == out
    assert exported.training is not None
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "What was left out of the model before it was exported" in card
    assert "this model, before export" in card
    size = exported.manifest.tokenizer.vocab_size
    whole = json.loads((exported.training.checkpoint / "config.json").read_bytes())["vocab_size"]
    assert size < whole


def test_the_command(checkpoint_folder: Path, weather_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller"
    command = ["shrink", "--model", str(checkpoint_folder), "--out", str(out)]
    command += ["--prune-vocab", "data", "--data", str(weather_file), "--layers", "0"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "parameters of" in result.output
    assert "are cut otherwise" in result.output
    assert "decisions that changed" in result.output
    assert (out / "shrinking.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to shrink"),
        (["--prune-vocab", "data"], "needs the data whose texts are meant"),
        (["--prune-vocab", "no/such/file.txt"], "cannot be read"),
        (["--drop-layers", "one"], "is no list of numbers"),
        (["--drop-layers", "0,1"], "would be left"),
        (["--layers", "7"], "has no layer 7"),
        (["--layers", "0", "--drop-layers", "1"], "exclude each other"),
        (["--vocab-size", "50"], "need a corpus"),
    ],
)
def test_what_is_wrong_is_said(
    options: list[str], message: str, checkpoint_folder: Path, tmp_path: Path
) -> None:
    command = ["shrink", "--model", str(checkpoint_folder), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, *options])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_an_export_refuses_early_what_contradicts_itself(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    command = ["export", "--model", str(checkpoint_folder), "--data", str(weather_file)]
    command += ["--out", str(tmp_path / "out"), "--layers", "0", "--drop-layers", "1"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert not (tmp_path / "out").exists()


def test_a_shrunk_folder_is_exported_like_any_other(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    from export.checkpoint import find_checkpoint
    from export.shrinking.shrink import shrink

    corpus = tmp_path / "corpus.txt"
    rows = weather_file.read_text(encoding="utf-8").splitlines()[1:]
    corpus.write_text("".join(f"{row.rpartition(',')[0]}\n" for row in rows), encoding="utf-8")
    small = tmp_path / "small"
    checkpoint = find_checkpoint(str(checkpoint_folder))
    shrink(checkpoint, ShrinkSettings(corpus=str(corpus)), small, max_length=64)
    out = tmp_path / "weather"
    assert export_bundle(export_settings(small, weather_file, out)).bundle == out
    assert "tokens: " in (out / "README.md").read_text(encoding="utf-8")
    shutil.rmtree(small)
