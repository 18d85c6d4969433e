"""The runtime's commands in an environment of their own, where there is no torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import ROOT

PYTHON = ROOT / ".venv-runtime" / "bin" / "python"


def light(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    if not PYTHON.exists():
        pytest.fail("there is no .venv-runtime; run the tests with: make test")
    return subprocess.run(
        [PYTHON, *map(str, arguments)], cwd=ROOT, capture_output=True, check=False, input=stdin
    )


def test_the_environment_has_no_torch_and_runtime_imports_whole() -> None:
    code = (
        "import importlib.util as u, pkgutil, runtime, importlib\n"
        "heavy = ('torch', 'transformers', 'onnx', 'sklearn', 'litert_torch')\n"
        "assert not [n for n in heavy if u.find_spec(n)], 'not a light environment'\n"
        "names = [m.name for m in pkgutil.walk_packages(runtime.__path__, 'runtime.')]\n"
        "names.remove('runtime.__main__')\n"
        # The plug-in is for whoever has pytest, which is who imports it.
        "names.remove('runtime.pytest_plugin')\n"
        "for name in names: importlib.import_module(name)\n"
        "import sys; assert 'export' not in sys.modules\n"
        "print(len(names))\n"
    )
    done = light("-c", code)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 15


def test_parity_passes_and_writes_its_report(bundle_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "parity.json"
    done = light("-m", "runtime", "parity", bundle_folder, "--json", report)
    assert done.returncode == 0, done.stderr.decode()
    assert b"verdict: PASS" in done.stdout
    stored = json.loads((bundle_folder / "parity.json").read_bytes())
    assert json.loads(report.read_bytes())["verdict"] == "pass"
    assert {a["path"] for a in stored["artifacts"]} == {
        "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite", "model.mlpackage",
        "model_int8.mlpackage",
    }  # fmt: skip


def _edited(bundle_folder: Path, tmp_path: Path, name: str, change: Callable[[Any], None]) -> Path:
    """A copy with one JSON file changed and the manifest's hash put right."""
    copy = Path(shutil.copytree(bundle_folder, tmp_path / "copy"))
    value = json.loads((copy / name).read_bytes())
    change(value)
    (copy / name).write_text(json.dumps(value))
    manifest = json.loads((copy / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        if entry["path"] == name:
            entry["bytes"] = (copy / name).stat().st_size
            entry["sha256"] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_parity_fails_with_1_on_other_reference_logits(bundle_folder: Path, tmp_path: Path) -> None:
    def double(golden: Any) -> None:
        for case in golden["cases"]:
            case["reference_logits"] = [2 * x for x in case["reference_logits"]]

    copy = _edited(bundle_folder, tmp_path, "golden.json", double)
    done = light("-m", "runtime", "parity", copy)
    assert done.returncode == 1, done.stderr.decode()
    assert b"above the limit" in done.stdout


def test_parity_cannot_judge_with_2(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for bad in (tmp_path / "empty", tmp_path / "missing"):
        done = light("-m", "runtime", "parity", bad)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr

    def other_processor(parity: Any) -> None:
        for artifact in parity["artifacts"]:
            artifact["gate"] = {"z80": artifact["gate"]["x86_64"]}

    copy = _edited(bundle_folder, tmp_path, "parity.json", other_processor)
    done = light("-m", "runtime", "parity", copy)
    assert done.returncode == 2, done.stdout
    assert b"UNKNOWN" in done.stdout


@pytest.mark.parametrize(
    "artifact", ["model_int8.onnx", "model_int8.tflite", "model_int8.mlpackage"]
)
def test_classify_a_text_a_file_and_standard_input(
    bundle_folder: Path, tmp_path: Path, artifact: str
) -> None:
    command = ["-m", "runtime", "classify", bundle_folder, "--artifact", artifact]
    one = light(*command, "the lake is icy today")
    assert one.returncode == 0, one.stderr.decode()
    assert one.stdout.decode().split()[0] == "snowy"
    lines = "the lake is icy today\n\nmy garden is golden \U0001f600\n".encode()
    (tmp_path / "texts").write_bytes(lines)
    from_file = light(*command, "--file", tmp_path / "texts")
    from_stdin = light(*command, stdin=lines)
    assert from_file.stdout == from_stdin.stdout
    rows = from_file.stdout.decode().splitlines()
    assert [row.split("\t")[0] for row in rows][::2] == ["snowy", "sunny"]
    assert len(rows) == 3
    as_json = light(*command, "--json", "x" * 10_000)
    answer = json.loads(as_json.stdout)
    assert set(answer["probabilities"]) == {"rainy", "snowy", "sunny"}


def test_classify_mistakes(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes("caf\u00e9".encode("latin-1"))
    command = ["-m", "runtime", "classify", bundle_folder]
    for arguments, word in (
        (["--file", tmp_path / "latin1"], "not UTF-8"),
        (["--file", tmp_path / "missing"], "No such file"),
        (["x", "--file", tmp_path / "latin1"], "both"),
        (["x", "--artifact", "model.nnet"], "no artifact is called"),
    ):
        done = light(*command, *arguments)
        assert done.returncode == 2
        assert word in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_inspect_tells_what_is_in_it(bundle_folder: Path) -> None:
    done = light("-m", "runtime", "inspect", bundle_folder)
    text = done.stdout.decode()
    for word in ("rainy, snowy, sunny", "model_int8.tflite", "PASS", "32, 64", "at 16.00 bits"):
        assert word in text
    done = light("-m", "runtime", "inspect", bundle_folder, "--weights")
    assert done.returncode == 0
    assert "bits per element" in " ".join(done.stdout.decode().split())
