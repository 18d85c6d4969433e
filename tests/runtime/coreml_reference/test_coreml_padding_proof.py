"""What is proven of padding, and what is not: rules, bounds, programs made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coreml_programs import constant, operation, program, short_runs
from coreml_variants import save_more, text_and_padding

from runtime.coreml_reference.executor import Executor
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.padding import RULES
from runtime.coreml_reference.padding.norms import largest_of, row_norms, spectral_bound
from runtime.coreml_reference.padding.proof import Unproven, prove
from runtime.coreml_reference.program import Operation, Package, TensorType


def _tiny(*operations: Operation) -> Package:
    kind = TensorType("int32", (1, 4))
    table = constant(np.arange(15, dtype=np.float16).reshape(5, 3) / 8)
    kept = replace(operation("const", "table", [("fp16", (5, 3))]), attributes={"val": table})
    words = operation(
        "gather",
        "words",
        [("fp16", (1, 4, 3))],
        x="table",
        indices="input_ids",
        axis=constant(np.int32(0)),
        batch_dims=constant(np.int32(0)),
    )
    both = {"input_ids": kind, "attention_mask": kind}
    output = (words, *operations)[-1].outputs[0].name
    return program(both, (kept, words, *operations), (output,), ios=16)


def _position(x: str, place: int = 0) -> Operation:
    return operation(
        "slice_by_index",
        "logits",
        [("fp16", (1, 3))],
        x=x,
        begin=constant(np.array([0, place, 0], np.int32)),
        end=constant(np.array([0, place + 1, 0], np.int32)),
        end_mask=constant(np.array([True, False, True])),
        squeeze_mask=constant(np.array([False, True, False])),
    )


def _total(x: str) -> Operation:
    return operation(
        "reduce_sum",
        "logits",
        [("fp16", (1, 3))],
        x=x,
        axes=constant(np.array([1], np.int32)),
        keep_dims=constant(np.array(False)),
    )


def _masked(offset: float = 0.0) -> tuple[Operation, ...]:
    """Words times the mask; with an offset padding is not quite zero."""
    axes = constant(np.array([2], np.int32))
    wide = operation("expand_dims", "wide", [("int32", (1, 4, 1))], x="attention_mask", axes=axes)
    floats = operation("cast", "floats", [("fp16", (1, 4, 1))], x="wide", dtype=constant("fp16"))
    more = operation(
        "add", "more", [("fp16", (1, 4, 1))], x="floats", y=constant(np.float16(offset))
    )
    mask = "more" if offset else "floats"
    times = operation("mul", "masked", [("fp16", (1, 4, 3))], x="words", y=mask)
    return (wide, floats, more, times) if offset else (wide, floats, times)


def _cases() -> dict[str, tuple[Package, str]]:
    fp16 = np.float16
    crossed = operation(
        "transpose",
        "turned",
        [("fp16", (1, 3, 4))],
        x="words",
        perm=constant(np.array([0, 2, 1], np.int32)),
    )
    over = operation(
        "linear", "mixed", [("fp16", (1, 3, 4))], x="turned", weight=constant(np.eye(4, dtype=fp16))
    )
    shares = operation(
        "softmax", "shares", [("fp16", (1, 3, 4))], x="turned", axis=constant(np.int32(-1))
    )
    normal = operation(
        "layer_norm",
        "shares",
        [("fp16", (1, 3, 4))],
        x="turned",
        axes=constant(np.array([-1], np.int32)),
    )
    mixed = operation(
        "reshape",
        "flat",
        [("fp16", (1, 12))],
        x="words",
        shape=constant(np.array([1, 12], np.int32)),
    )
    total = _total("words")
    products = operation("matmul", "products", [("fp16", (1, 3, 3))], x="turned", y="words")
    apart = operation("mul", "scaled", [("fp16", (1, 4, 3))], x="words", y=constant(fp16(6e4)))
    last = operation("add", "scores", [("fp16", (1, 4, 3))], x="scaled", y=constant(fp16(1)))
    few = operation(
        "slice_by_index",
        "few",
        [("fp16", (1, 3))],
        x="words",
        begin=constant(np.array([0], np.int32)),
        end=constant(np.array([1], np.int32)),
    )
    return {
        "too few bounds for the axes": (_tiny(few), "index out of range"),
        "takes a position from the middle": (_tiny(_position("words", 1)), "from the middle"),
        "a linear layer over positions": (
            _tiny(crossed, over),
            "sums over positions",
        ),
        "softmax without a mask": (
            _tiny(crossed, shares),
            "does not keep padding out",
        ),
        "a normalisation over positions": (
            _tiny(crossed, normal),
            "only the last axis",
        ),
        "positions that lose their axis": (_tiny(mixed), "mixed with another axis"),
        "a sum over positions": (_tiny(total), "it sums over padding"),
        "a sum over padding that a weak mask left": (
            _tiny(*_masked(offset=0.001), _total("masked")),
            "it sums over padding",
        ),
        "a product over positions": (
            _tiny(crossed, products),
            "sums over padding",
        ),
        "a value for each position": (_tiny(), "a value for each position"),
        "may overflow": (_tiny(apart, last, _position("scores")), "might reach"),
    }


@pytest.mark.parametrize("case", _cases())
def test_what_mixes_positions_is_not_proven(case: str) -> None:
    package, reason = _cases()[case]
    with pytest.raises(Unproven, match=reason):
        prove(package.function, Executor(package).steps)


def test_the_first_position_alone_is_proven() -> None:
    package = _tiny(_position("words"))
    executor, short = short_runs(package)
    feed = text_and_padding(2, length=4) | {"input_ids": np.array([[3, 4, 0, 0]], np.int32)}
    assert short.run(feed)["logits"].tobytes() == executor.run(feed)["logits"].tobytes()
    assert short.doubt == ""


def test_a_masked_sum_is_proven_and_what_follows_needs_no_bounds() -> None:
    large = operation("mul", "large", [("fp16", (1, 3))], x="total", y=constant(np.float16(6e4)))
    grown = operation("exp", "logits", [("fp16", (1, 3))], x="large")
    total = _total("masked")
    total = replace(total, outputs=(replace(total.outputs[0], name="total"),))
    package = _tiny(*_masked(), total, large, grown)
    executor, short = short_runs(package)
    for ids in ([3, 4, 0, 0], [0, 0, 0, 2], [1, 2, 3, 4]):
        feed = text_and_padding(3, length=4) | {"input_ids": np.array([ids], np.int32)}
        assert short.run(feed)["logits"].tobytes() == executor.run(feed)["logits"].tobytes()
    assert short.doubt == ""
    # The first text overflows here, in both runs alike.
    assert np.isinf(executor.run(feed)["logits"]).any()


def test_what_depends_on_no_text_is_not_taken_for_a_head() -> None:
    """A constant step's result has all positions, which nobody would cut."""
    filled = operation(
        "fill", "filled", [("fp16", (1, 4, 3))],
        shape=constant(np.array([1, 4, 3], np.int32)), value=constant(np.float16(1)),
    )  # fmt: skip
    both = operation("add", "sum", [("fp16", (1, 4, 3))], x="words", y="filled")
    package = _tiny(filled, both, _position("sum"))
    with pytest.raises(Unproven, match="no rule"):
        prove(package.function, Executor(package).steps)


def test_constants_lose_their_last_positions() -> None:
    places = operation(
        "add",
        "placed",
        [("fp16", (1, 4, 3))],
        x=constant(np.arange(12, dtype=np.float16).reshape(4, 3)),
        y="words",
    )
    package = _tiny(places, _position("placed"))
    executor, short = short_runs(package)
    feed = text_and_padding(3, length=4) | {"input_ids": np.array([[3, 4, 1, 0]], np.int32)}
    assert short.run(feed)["logits"].tobytes() == executor.run(feed)["logits"].tobytes()
    assert short.doubt == ""


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (64, 64), (1, 9), (300, 20)])
def test_bounds_on_matrices(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(shape))
    for scale in (1e-6, 1.0, 1e6):
        weight = random.standard_normal(shape) * scale
        largest = np.linalg.svd(weight, compute_uv=False)[0]
        assert largest <= spectral_bound(weight) * (1 + 1e-12)
        assert spectral_bound(weight) <= largest * min(shape) ** 0.125 * (1 + 1e-12)
        assert row_norms(weight) == pytest.approx(np.linalg.norm(weight, axis=1).max())
        assert largest_of(weight) == np.abs(weight).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bounds_of_damaged_weights_are_not_finite(bad: float) -> None:
    weight = np.ones((4, 4))
    weight[1, 2] = bad
    for bound in (spectral_bound, row_norms, largest_of):
        assert not np.isfinite(bound(weight))
    assert largest_of(np.array([-128, 5], np.int8)) == 128
    assert spectral_bound(np.zeros((3, 3))) == 0


def test_every_rule_is_met(tmp_path: Path) -> None:
    """A rule that no test's program needs would be judged by no test."""
    met = set()
    for name in ("plain-ios16", "plain-ios17", "fused-ios18", "mean-ios16", "classifier-sigmoid"):
        package = read_package(save_more(name, tmp_path))
        met |= {found.kind for found in package.function.operations}
    assert RULES.keys() - met == {"identity", "silu", "tanh"}
