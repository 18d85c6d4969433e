"""mobile-export trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.checkpoint import find_checkpoint
from export.cli import app
from export.tracing import trace_text
from export.tracing.artifacts import with_artifacts
from runtime.bundle import Bundle
from runtime.errors import UserError


def test_terminal_page_and_json(tmp_path: Path, checkpoint_folder: Path) -> None:
    page, trace = tmp_path / "trace.html", tmp_path / "trace.json"
    command = ["trace", "-", "--model", str(checkpoint_folder), "--layer", "1", "--top", "2"]
    result = CliRunner().invoke(app, [*command, "--html", str(page), "--json", str(trace)])
    assert result.exit_code == 0, result.output
    assert "Layer 1: who looks at whom" in result.output
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert json.loads(trace.read_bytes())["text"] == "-"


def test_the_model_that_was_trained_last(
    tmp_path: Path, checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["trace", "snow"])
    assert isinstance(result.exception, UserError)
    assert "no model to trace" in str(result.exception)
    (tmp_path / "build/checkpoints").mkdir(parents=True)
    (tmp_path / "build/checkpoints/mine").symlink_to(checkpoint_folder)
    result = CliRunner().invoke(app, ["trace", "snow"])
    assert result.exit_code == 0, result.output
    assert "build/checkpoints/mine" in result.output


def test_artifacts_beside_pytorch(bundle: Bundle, checkpoint_folder: Path) -> None:
    length = bundle.manifest.tokenizer.max_length
    found = trace_text(
        find_checkpoint(str(checkpoint_folder)), "the lake is icy", max_length=length
    )
    compared = with_artifacts(found, bundle)
    assert len(compared.artifacts) == len(bundle.manifest.artifacts)
    for artifact in compared.artifacts:
        assert artifact.same_ids
        assert artifact.difference is not None
        assert artifact.labels == ("snowy",)
        assert artifact.difference < (1.0 if "int8" in artifact.path else 0.05)
    other = trace_text(find_checkpoint(str(checkpoint_folder)), "lake " * 90, max_length=8)
    assert all(x.difference is None for x in with_artifacts(other, bundle).artifacts)
