"""What the terminal shows of a figure."""

from __future__ import annotations

import pytest

from runtime.bench.machine import BenchMachine
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio
from runtime.bench.table import cell_name, machine_line, milliseconds, ratio_words


@pytest.mark.parametrize(
    ("value", "noise", "words"),
    [(0.78, 0.05, "0.78×"), (0.97, 0.05, "≈0.97×"), (1.03, 0.05, "≈1.03×"), (1.2, 0.05, "1.20×"),
     (0.97, float("nan"), "0.97×")],
)  # fmt: skip
def test_a_difference_within_the_noise_is_marked(value: float, noise: float, words: str) -> None:
    assert ratio_words(Ratio(value, value, value, 9), noise) == words


def test_three_digits_of_a_time() -> None:
    assert [milliseconds(v) for v in (0.12345, 14.66, 99.99, 1234.5)] == [
        "0.123", "14.7", "100", "1234",
    ]  # fmt: skip


def test_another_batch_is_named() -> None:
    assert cell_name(Cell(1, 128), 1) == "128"
    assert cell_name(Cell(16, 128), 1) == "16×128"


def test_the_machine_is_named_with_all_that_figures_depend_on() -> None:
    machine = BenchMachine("x86_64", "A Processor", ("avx2", "avx512_vnni"), 2, 1 << 30,
                           "performance", virtual=True, system="Linux 6", load=0.25,
                           busy_share=0.0)  # fmt: skip
    line = machine_line(machine)
    for words in ("A Processor", "x86_64", "virtual", "2 cores", "avx512_vnni", "performance"):
        assert words in line
    assert not machine.is_busy
