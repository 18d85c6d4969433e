from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import GOLDEN, Bundle
from runtime.golden import read_golden
from runtime.parity.results import read_results
from runtime.parity.run import run_artifact, session_settings

from support import ROOT

# What an emulated system does not have, and what no device needs.
ABSENT = (
    "rich",
    "typer",
    "click",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
    "onnx",
    "pytest",
)
BLOCKED = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Nothing())
"""
RUN = BLOCKED + "from runtime.emulation.worker import main; sys.exit(main(sys.argv[1:]))"


def worker(*arguments: str | Path, code: str = RUN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_block_works() -> None:
    done = worker(code=BLOCKED + "import rich.table")
    assert "rich is blocked" in done.stderr or "rich.table is blocked" in done.stderr


@pytest.mark.parametrize("name", ["model_int8.onnx", "model_int8.tflite", "model_int8.mlpackage"])
def test_it_needs_only_numpy_and_a_runtime(name: str, bundle: Bundle, tmp_path: Path) -> None:
    golden = read_golden(bundle.file(GOLDEN))
    rows = (0, 5, len(golden.cases) - 1)
    out = tmp_path / "results.json"
    done = worker(bundle.path, "--artifact", name, "--rows", ",".join(map(str, rows)), "--out", out)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line[0].isdigit()][-1] == "3 3"
    (found,) = read_results(out, bundle, golden)
    spec, settings = bundle.artifact(name), session_settings(bundle)
    here = run_artifact(bundle, spec, golden, settings, rows=rows, split=False)
    assert "graph_max_abs" not in found.measured
    assert found.rows == rows
    np.testing.assert_array_equal(found.logits, here.logits)
    assert found.measured == pytest.approx(here.measured)
    assert found.environment == here.environment
    assert found.machine.architecture == here.machine.architecture


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    done = worker(tmp_path, "--artifact", "x", "--rows", "0", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
