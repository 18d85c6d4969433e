from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.cli_support import program
from runtime.console import megabytes, progress_bar
from runtime.errors import MissingExtraError, UserError


def test_sizes_are_decimal() -> None:
    assert megabytes(67_505_056) == "67.5 MB"
    assert megabytes(2_345) == "2.3 kB"


def test_an_error_is_one_sentence_after_the_other() -> None:
    error = UserError("x is missing", why="it was moved.", todo="put it back")
    assert str(error) == "x is missing. it was moved. put it back."
    missing = MissingExtraError("onnxruntime", extra="onnx", purpose="running ONNX")
    assert str(missing).endswith("install it with: pip install 'mobile-export[onnx]'.")


def test_the_program_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/mobile-export"])
    assert program() == "mobile-export"


@pytest.mark.parametrize("package", ["runtime", "android_demo.toolchain"])
def test_so_can_a_package_that_was_started(package: str) -> None:
    code = f"""
import runpy, sys
from pathlib import Path
sys.argv = ["x", "--help"]
import runtime.cli_support
runtime.cli_support.run = lambda app: print(runtime.cli_support.program())
runpy.run_module({package!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"python -m {package}"


def test_a_log_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 31.0, 32.0, 62.0])
    monkeypatch.setattr("runtime.console.time.monotonic", lambda: next(clock))
    with progress_bar("judging") as progress:
        for done in (1, 1_200, 1_201, 2_400):
            progress(done, 5_000)
    assert capsys.readouterr().err == "  judging: 1,200 of 5,000\n  judging: 2,400 of 5,000\n"
