from __future__ import annotations

from runtime.cli_support import program
from runtime.console import megabytes
from runtime.errors import MissingExtraError, UserError


def test_sizes_are_decimal() -> None:
    assert megabytes(67_505_056) == "67.5 MB"
    assert megabytes(2_345) == "2.3 kB"


def test_an_error_is_one_sentence_after_the_other() -> None:
    error = UserError("x is missing", why="it was moved.", todo="put it back")
    assert str(error) == "x is missing. it was moved. put it back."
    missing = MissingExtraError("onnxruntime", extra="onnx", purpose="running ONNX")
    assert str(missing).endswith("install it with: pip install 'mobile-export[onnx]'.")


def test_the_program_can_be_pasted(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sys.argv", ["/usr/lib/somewhere/runtime/__main__.py"])
    assert program() == "python -m runtime"
    monkeypatch.setattr("sys.argv", ["/usr/bin/mobile-export"])
    assert program() == "mobile-export"
