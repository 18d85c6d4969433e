from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.training.quantized.settings import ENTRY
from export.training.record import read_record
from runtime.errors import UserError


def test_tune_and_be_told_before_and_after(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["tune-quantized", "--model", str(checkpoint_folder), "--recipe", "int8"]
    arguments += ["--data", str(weather_file), "--out", "tuned", "--steps", "4", "--epochs", "2"]
    arguments += ["--max-length", "32", "--limit", "40"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    for words in ("before, in float32", "rounded, not tuned", "lost, 95% bounds"):
        assert words in said
    assert "export --target onnx --recipe int8 --model tuned --data" in said
    assert "--max-length 32" in said
    entry = read_record(Path("tuned")).extra[ENTRY]
    assert (entry["recipe"], entry["steps"], entry["comparison"]["texts"]) == ("int8", 4, 40)
    page = Path("tuned/training.html").read_text(encoding="utf-8")
    assert "Tuned for a recipe" in page
    assert Path("build/teacher-answers").is_dir()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "int3"], "there is no recipe 'int3'"),
        (["--recipe", "float32"], "every weight of this model in float"),
        (["--target", "coreml", "--recipe", "int8"], "cannot be tuned for coreml's recipe int8"),
        (["--recipe", "int8", "--steps", "2"], "2 steps cannot be judged 5 times"),
        (["--recipe", "int8", "--temperature", "0"], "the temperature must be above 0"),
    ],
)
def test_mistakes_are_told(
    options: list[str], said: str, checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    command = ["tune-quantized", "--model", str(checkpoint_folder), "--data", str(weather_file)]
    command += ["--max-length", "32", "--out", str(tmp_path / "t")]
    result = CliRunner().invoke(app, [*command, *options])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert not (tmp_path / "t").exists()
