"""The machine's own limit: how fast it multiplies matrices of the model's shapes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from runtime.bench.contestants import Contestant
from runtime.bench.flops import Work
from runtime.bench.gemm_model import product_model
from runtime.bench.process import backend_script
from runtime.files import write_atomically

PRECISIONS = ("float32", "int8")
Shapes = Sequence[tuple[int, int]]
_SHORT = {"float32": "fp32", "int8": "int8"}


@dataclass(frozen=True, slots=True)
class Peak:
    """The best rate of a product, in FLOP a second, and the shape that reached it."""

    rate: float
    shape: str


def product_contestants(shapes: Shapes, folder: Path) -> tuple[Contestant, ...]:
    """One for each shape of the blocks' layers and each precision.

    Args:
        shapes: (inner, outer) of each.
        folder: where the graphs are written; it must stay while they are timed.

    Returns:
        None of them without onnxruntime.
    """
    if find_spec("onnxruntime") is None:
        return ()
    found = []
    for precision in PRECISIONS:
        for inner, outer in shapes:
            path = folder / f"product_{precision}_{inner}x{outer}.onnx"
            write_atomically(path, product_model(inner, outer, precision))
            found.append(
                Contestant(
                    name=product_name(precision, inner, outer),
                    group="limit",
                    format="onnx",
                    precision=precision,
                    bytes=path.stat().st_size,
                    sha256="",
                    python=Path(sys.executable),
                    backend=backend_script("gemm"),
                    settings={"path": str(path)},
                )
            )
    return tuple(found)


def product_name(precision: str, inner: int, outer: int) -> str:
    """Such as ``product int8 768x3072``."""
    return f"product {_SHORT[precision]} {inner}x{outer}"


def peaks_of(shapes: Shapes, medians: Mapping[tuple[str, int], float]) -> dict[str, Peak]:
    """The highest rate over all shapes and numbers of rows, for each precision.

    Args:
        shapes: that were timed.
        medians: (name of the product, rows) → milliseconds.
    """
    peaks: dict[str, Peak] = {}
    for precision in PRECISIONS:
        for inner, outer in shapes:
            name = product_name(precision, inner, outer)
            for rows in sorted(rows for known, rows in medians if known == name):
                rate = 2.0 * rows * inner * outer / (medians[name, rows] * 1e-3)
                if precision not in peaks or rate > peaks[precision].rate:
                    peaks[precision] = Peak(rate, f"{rows}x{inner}x{outer}")
    return peaks


def bound_ms(work: Work, precision: str, peaks: Mapping[str, Peak]) -> float:
    """Milliseconds that the products take at the peak rates.

    Attention multiplies activations by activations, in float32 in every artifact here, so int8
    artifacts are held to the int8 rate in their linear layers only.

    Args:
        work: of one run.
        precision: the artifact's; whatever is stored below 16 bits may be multiplied in int8.
        peaks: of this run.

    Returns:
        NaN where a peak was not measured.
    """
    kind = "float32" if precision.startswith("float") else "int8"
    if kind not in peaks or "float32" not in peaks:
        return float("nan")
    seconds = work.linear / peaks[kind].rate + work.attention / peaks["float32"].rate
    return seconds * 1e3
