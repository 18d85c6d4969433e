from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.data.task import TextDataset
from export.model_choice import choose
from runtime.errors import UserError

from support import TINY_SETTINGS

SHORT = ["--epochs", "1", "--max-length", "32", "--baselines", "none"]


def test_distil_for_a_task_and_export_the_student(
    checkpoint_folder: Path,
    weather_file: Path,
    weather: TextDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = tmp_path / "texts.txt"
    texts.write_text("the sky is bright over there\nthe lake is icy over there\n", encoding="utf-8")
    arguments = ["distill", "--teacher", str(checkpoint_folder), "--data", str(weather_file)]
    arguments += ["--texts", str(texts), "--layers", "0,1", "--out", "student", *SHORT]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "same answer as the teacher" in result.output
    assert "export --target tflite --model student" in result.output
    assert "--max-length 32" in result.output
    settings = replace(TINY_SETTINGS, model=str(tmp_path / "student"), max_length=32)
    chosen = choose(weather, settings, "auto")
    assert chosen.checkpoint is not None, chosen.reason
    assert (tmp_path / "build" / "teacher-answers").is_dir()


def test_distil_language_from_a_file_of_texts(
    checkpoint_folder: Path,
    weather_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hidden states alone: this teacher has no masked-language head."""
    monkeypatch.chdir(tmp_path)
    lines = weather_file.read_text(encoding="utf-8").splitlines()[1:101]
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines), encoding="utf-8")
    arguments = ["distill", "--kind", "general", "--teacher", str(checkpoint_folder)]
    arguments += ["--texts", str(texts), "--alpha-ce", "0", "--alpha-mlm", "0", "--out", "s"]
    result = CliRunner().invoke(app, [*arguments, *SHORT], catch_exceptions=False)
    assert result.exit_code == 0
    assert "finetune --model s --data FILE" in result.output
    assert "cosine" in result.output
    assert (tmp_path / "s" / "training.html").is_file()
    assert "masked" not in result.output.replace("masked_accuracy", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "one"], "is no list of numbers"),
        (["--layers", "0,5"], "the teacher has no layer 5"),
        (["--student", "small", "--layers", "0"], "--layers is for a student"),
        (["--kind", "general"], "has no masked-language head"),
        (["--temperature", "0"], "the temperature must be above 0"),
    ],
)
def test_mistakes_are_told(
    options: list[str], said: str, checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    command = ["distill", "--teacher", str(checkpoint_folder), "--data", str(weather_file)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "s"), *options])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert not (tmp_path / "s").exists()
