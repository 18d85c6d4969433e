"""Ours against peers of the same format, from rounds that are planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.bench.contestants import Contestant, Group
from runtime.bench.duels import duels_of
from runtime.bench.measured import Measured
from runtime.bench.schedule import Cell

CELL = Cell(1, 128)


def _measured(
    name: str, group: Group, form: str, precision: str, ms: float, rounds: int = 8
) -> Measured:
    contestant = Contestant(name, group, form, precision, 1, "", Path("python"), Path("b.py"), {})
    taken = [[ms, ms * 1.01, ms * 0.99] for _ in range(rounds)]
    return Measured(
        contestant, 1, rounds={CELL: taken}, processor={CELL: [ms for _ in range(rounds)]}
    )


MEASURED = [
    _measured("a.onnx", "ours", "onnx", "int8", 14.0),
    _measured("a4.onnx", "ours", "onnx", "int4", 28.0),
    _measured("a.tflite", "ours", "tflite", "int8", 9.0),
    _measured("f.onnx", "ours", "onnx", "float32", 45.0),
    _measured("a.onnx (again)", "again", "onnx", "int8", 14.0),
    _measured("optimum-int8", "peer", "onnx", "int8", 20.0, rounds=5),
    _measured("optimum-float32", "peer", "onnx", "float32", 50.0),
    _measured("litert-int8", "peer", "tflite", "int8", 10.0),
]
FIGURES = {"a.onnx": {"flips": 1.0}, "optimum-int8": {"flips": 4.0}}


def test_ours_meet_peers_of_their_format_and_kind_and_nobody_else() -> None:
    found = {(d.own, d.rival): d.ratio.value for d in duels_of(MEASURED, FIGURES, seed=1)}
    assert found == {
        ("a.onnx", "optimum-int8"): pytest.approx(0.7),
        ("a4.onnx", "optimum-int8"): pytest.approx(1.4),
        ("a.tflite", "litert-int8"): pytest.approx(0.9),
        ("f.onnx", "optimum-float32"): pytest.approx(0.9),
    }


def test_only_rounds_that_both_were_in_count() -> None:
    first = duels_of(MEASURED, FIGURES, seed=1)[0]
    assert first.ratio.rounds == 5
    assert first.processor_ratio is not None
    assert first.processor_ratio.value == pytest.approx(0.7)


def test_speed_is_never_told_without_agreement() -> None:
    first, second, *_ = duels_of(MEASURED, FIGURES, seed=1)
    assert first.line() == (
        "a.onnx takes 0.70 of optimum-int8's time (95%: 0.70 to 0.70) at 128 ids; flips 1 against 4"
    )
    assert "flips were not compared" in second.line()
