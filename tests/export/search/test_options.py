"""--budget, --max-flips and --recipe as a user gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from export.cli import app
from runtime.errors import UserError


def _refused(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["export", "--target", "onnx", *map(str, arguments)])
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--budget", "48"), ("'48' is no size", "--budget 48MB")),
        (("--budget", "much"), ("'much' is no size",)),
        (("--max-flips", "0"), ("'0' is no share of flips", "--max-flips 0.5%")),
        (("--max-flips", "0.5MB"), ("is no share of flips",)),
        (("--budget", "48MB", "--target", "onnx,tflite"), ("one target, not for onnx, tflite",)),
        (("--budget", "48MB", "--target", "all"), ("one target",)),
        (("--budget", "48MB", "--as", "embedding"), ("no search for sentence vectors", "RECIPE=")),
        (("--recipe", "none.toml"), ("the recipe none.toml cannot be read",)),
        (("--recipe", "int3"), ("unknown RECIPE 'int3'", "choose among", ".toml file")),
    ],
)
def test_one_sentence_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    told = _refused(*arguments)
    for word in words:
        assert word in told
    assert not list(tmp_path.iterdir())


def test_help_tells_of_them() -> None:
    command = typer.main.get_command(app)
    options = {name for p in command.commands["export"].params for name in p.opts}  # type: ignore[attr-defined]
    assert {"--budget", "--max-flips", "--recipe"} <= options
