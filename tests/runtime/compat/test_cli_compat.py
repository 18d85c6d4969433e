"""The command: its table, reports and exit statuses, with this interpreter as the old runtime."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.bundle import MANIFEST, Bundle, describe_artifact
from runtime.cli import app
from runtime.compat.evidence import read_evidence
from runtime.errors import UserError
from runtime.files import canonical_json

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNTIME = version("onnxruntime")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list with this interpreter's onnxruntime, whose environment is there already."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(cache))
    home = cache / "compat" / "environments" / f"onnxruntime-{RUNTIME}"
    python = home / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    request = {"requirements": f"onnxruntime=={RUNTIME}", "python": OWN}
    (home / "stamp.json").write_text(canonical_json(request))
    path = tmp_path / "runtimes.toml"
    path.write_text(
        'schema_version = 1\n[runtimes.onnxruntime]\nformat = "onnx"\nclaim = "onnxruntime"\n'
        f'requirements = []\n[runtimes.onnxruntime.versions]\n"0.1" = ["3.0"]\n'
        f'"{RUNTIME}" = ["{OWN}"]\n'
    )
    return path


def compat(*arguments: object) -> Result:
    few = ("--texts", "8", "--artifact", "model.onnx")
    return CliRunner().invoke(app, ["compat", *few, *map(str, arguments)])


def test_right_everywhere_is_status_0_and_is_written_down(
    bundle_folder: Path, listed: Path, tmp_path: Path
) -> None:
    report, evidence = tmp_path / "compat.json", tmp_path / "evidence.json"
    done = compat(bundle_folder, "--runtimes", listed, "--json", report, "--record", evidence)
    assert done.exit_code == 0, done.output
    assert "skipped onnxruntime 0.1: no Python 3.0 is found" in done.stdout
    assert f"onnxruntime right from {RUNTIME} on" in done.stdout
    assert "compat: 1 right, 0 garbage; no promise broken" in done.stdout
    (run,) = json.loads(report.read_text())["runs"]
    assert (run["outcome"], run["version"], run["from_own"]) == ("right", RUNTIME, 0.0)
    (seen,) = read_evidence(evidence).recipes["onnx/float32/distilbert"].values()
    assert seen.outcomes == {"onnxruntime": {RUNTIME: "right"}}


def test_garbage_is_status_1(bundle: Bundle, listed: Path, tmp_path: Path) -> None:
    """The int8 file under the float file's name, with every hash in order."""
    folder = tmp_path / "b"
    shutil.copytree(bundle.path, folder)
    shutil.copyfile(folder / "model_int8.onnx", folder / "model.onnx")
    size, sha256, _ = describe_artifact(folder, "model.onnx")
    manifest = json.loads((folder / MANIFEST).read_text())
    for artifact in manifest["artifacts"]:
        if artifact["path"] == "model.onnx":
            artifact |= {"bytes": size, "sha256": sha256}
    (folder / MANIFEST).write_text(canonical_json(manifest))
    done = compat(folder, "--runtimes", listed)
    assert done.exit_code == 1
    assert f"model.onnx garbage in onnxruntime {RUNTIME}: max_rel is" in done.stdout
    assert "compat: 1 garbage; 1 promises of the manifest broken" in done.stdout


def test_nothing_that_ran_is_status_2(bundle_folder: Path, listed: Path) -> None:
    done = compat(bundle_folder, "--runtimes", listed, "--only", "onnxruntime==0.1")
    assert done.exit_code == 2
    assert "skipped onnxruntime 0.1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "onnx"), "no runtime is called 'onnx'"),
        (("--artifact", "int2"), "no onnx or tflite artifact is called 'int2'"),
        (("--json", "/nowhere/at/all.json"), "/nowhere/at is not a folder"),
        (("--runtimes", "/nowhere.toml"), "/nowhere.toml cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(
    bundle_folder: Path, listed: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = compat(bundle_folder, "--runtimes", listed, *arguments)
    assert isinstance(done.exception, UserError)
    assert words in str(done.exception)
