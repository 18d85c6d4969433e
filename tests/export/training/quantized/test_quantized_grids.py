from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.recipes import WeightsRule
from export.rounding.grid import grid_of
from export.training.quantized.grids import dense_of, rounded
from runtime.errors import UserError

RULES = [
    WeightsRule("int8", "channel", "minmax"),
    WeightsRule("int8", "channel", "minmax", reduce_range=True),
    WeightsRule("int8", "row", "minmax"),
    WeightsRule("int8", "tensor", "minmax"),
    WeightsRule("int4", "channel", "minmax"),
    WeightsRule("int4", "row", "mse"),
    WeightsRule("int4", "block", "minmax", 32),
    WeightsRule("int4", "block", "minmax", 16, scale="float16"),
    WeightsRule("int4", "block", "minmax", 64, scale="bfloat16"),
    WeightsRule("int4", "block", "gptq", 32, scale="multiple"),
]
Floats = npt.NDArray[np.float32]


def weights(seed: int) -> torch.Tensor:
    """64 rows of unlike sizes, one of zeros, one nearly so, one with exact halves of a step."""
    chance = torch.Generator().manual_seed(seed)
    rows = torch.randn(64, 128, generator=chance)
    rows *= 10 ** torch.empty(64, 1).uniform_(-6, 2, generator=chance)
    rows[3] = 0.0
    rows[4] = 1e-41
    rows[5] = torch.arange(-64, 64) / 2
    return rows


def same_bits(one: Floats, other: Floats) -> bool:
    return bool((one.view(np.uint32) == other.view(np.uint32)).all())


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.precision}-{r.granularity}-{r.scale}")
@pytest.mark.parametrize("seed", range(4))
def test_the_same_numbers_as_what_is_exported_bit_for_bit(rule: WeightsRule, seed: int) -> None:
    weight = weights(seed)
    wanted = grid_of(weight.numpy(), rule).dense()
    assert same_bits(dense_of(weight, rule).numpy(), wanted)
    assert same_bits(dense_of(torch.from_numpy(wanted), rule).numpy(), wanted)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.precision}-{r.granularity}-{r.scale}")
def test_codes_that_end_one_too_early_are_seen(
    rule: WeightsRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the same function with a range of codes that is off by one."""
    weight = weights(0)
    wanted = grid_of(weight.numpy(), rule).dense()
    largest = {"int8": 64 if rule.reduce_range else 127, "int4": 7}[rule.precision]
    monkeypatch.setattr("export.training.quantized.grids.largest_code", lambda _: largest - 1)
    assert not same_bits(dense_of(weight, rule).numpy(), wanted)


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    weight = weights(1).requires_grad_(True)
    towards = torch.randn(64, 128, generator=torch.Generator().manual_seed(2))
    (rounded(weight, RULES[6]) * towards).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.equal(weight.grad, towards)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    weight = weights(0)
    weight[7, 7] = bad
    with pytest.raises(UserError, match=r"pre_classifier\.weight holds numbers"):
        dense_of(weight, RULES[6], "pre_classifier.weight")


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="whole number of blocks"):
        dense_of(torch.ones(4, 40), RULES[6])
