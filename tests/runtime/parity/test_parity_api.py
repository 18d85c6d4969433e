from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.parity import compare, gate

REFERENCE = np.array([[3.0, -1.0], [0.2, 0.1], [-2.0, 4.0]], dtype=np.float32)


def test_gate_judges_a_bundle_or_one_of_its_artifacts(bundle_folder: Path) -> None:
    report = gate(str(bundle_folder), "model.onnx")
    assert report.verdict == "pass"
    assert [found.path for found in report.artifacts] == ["model.onnx"]
    with pytest.raises(UserError, match="no artifact is called 'int3'"):
        gate(bundle_folder, "int3")
    with pytest.raises(UserError, match="is not a folder"):
        gate("/no/such/folder")


def test_compare_gives_figures_for_plain_lists() -> None:
    artifact = REFERENCE.copy()
    artifact[1] = (0.1, 0.2)
    figures = compare(REFERENCE.tolist(), artifact.tolist(), targets=[0, 0, 1])
    assert figures["max_abs"] == pytest.approx(0.1)
    assert figures["flips"] == 1
    assert figures["metric_drop"] == pytest.approx(1 / 3)
    unlabelled = compare(REFERENCE, artifact)
    assert unlabelled["flips"] == 1
    assert not [name for name in unlabelled if name.startswith(("metric", "ece"))]
    many = compare(REFERENCE, artifact, targets=[(0,), (), (1,)], thresholds=(0.5, 0.5))
    assert many["flips"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [[1.0]]), "shape"),
        (([], []), "shape"),
        (([[1.0, float("nan")]], [[1.0, 2.0]]), "NaN"),
    ],
)
def test_compare_refuses_what_cannot_be_compared(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(*arguments)
    for wrong in ({"targets": [0]}, {"targets": [0, 1, 2]}, {"thresholds": [0.5]}):
        with pytest.raises(UserError, match=r"targets|thresholds"):
            compare(REFERENCE, REFERENCE, **wrong)


def test_importing_it_is_light() -> None:
    """What runs under an emulator has no scipy, tokenizers, rich or typer."""
    code = (
        "import sys, runtime.parity, runtime.parity.run, runtime.parity.results;"
        "sys.exit(str(sorted({'scipy','tokenizers','rich','typer','torch'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


_TEST = """
def test_the_app_gives_pytorchs_answers(parity_gate):
    parity_gate({bundle!r}, "model.onnx")
"""


def _pytest(folder: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    (folder / "test_app.py").write_text(_TEST.format(bundle=str(bundle)))
    junit = ("--junitxml", str(folder / "junit.xml"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *junit, "test_app.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_other_peoples_tests_can_use_the_gate(bundle_folder: Path, tmp_path: Path) -> None:
    done = _pytest(tmp_path, bundle_folder)
    assert done.returncode == 0, done.stdout
    assert 'name="model.onnx.flip_rate_bound"' in (tmp_path / "junit.xml").read_text()


def test_and_it_fails_there_with_the_reason(bundle_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle_folder, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes(b"not a model")
    done = _pytest(tmp_path, copy)
    assert done.returncode == 1
    assert "model.onnx has 11 bytes" in done.stdout
    # A gate that turns the verdict, with every hash put right.
    shutil.rmtree(copy)
    shutil.copytree(bundle_folder, copy)
    parity = json.loads((copy / "parity.json").read_bytes())
    for artifact in parity["artifacts"]:
        artifact["gate"]["x86_64"]["max_rel"]["limit"] = 1e-12
    (copy / "parity.json").write_text(json.dumps(parity))
    manifest = json.loads((copy / "manifest.json").read_bytes())
    data = (copy / "parity.json").read_bytes()
    for entry in manifest["files"]:
        if entry["path"] == "parity.json":
            entry["bytes"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = _pytest(tmp_path, copy)
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert "max_rel is" in done.stdout
