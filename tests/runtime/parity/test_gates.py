from __future__ import annotations

import math

import pytest

from runtime.errors import UserError
from runtime.parity.gates import FIGURES, REQUIRED, REQUIRED_IF_KNOWN, Check, check_all, verdict_of

GOOD = {
    "non_finite": 0.0, "max_abs": 0.1, "p99_abs": 0.1, "mean_abs": 0.1, "max_rel": 0.1,
    "cosine": 0.99, "sqnr_db": 30.0, "flip_rate": 0.01, "large_margin_flips": 0.0,
    "padding_rel": 0.0, "metric_drop": 0.0, "compression_max_abs": 0.1, "graph_max_abs": 1e-6,
    "precision_max_abs": 0.01, "probabilities_max_abs": 1e-4,
    "changed_weights": 0.0,
}  # fmt: skip
LIMITS = {
    "max_abs": 0.2, "p99_abs": 0.2, "mean_abs": 0.2, "max_rel": 0.2, "cosine": 0.98,
    "sqnr_db": 20.0, "flip_rate": 0.02, "large_margin_flips": 0.0, "padding_rel": 0.1,
    "metric_drop": 0.01, "compression_max_abs": 0.2, "graph_max_abs": 1e-4,
    "precision_max_abs": 0.02, "probabilities_max_abs": 1e-3,
    "changed_weights": 0.0,
}  # fmt: skip


def test_within_all_limits_passes() -> None:
    assert verdict_of(check_all(GOOD, LIMITS), ()) == "pass"


@pytest.mark.parametrize("name", [*FIGURES, "non_finite"])
@pytest.mark.parametrize("bad", ["beyond", "nan"])
def test_each_figure_alone_can_fail_the_gate(name: str, bad: str) -> None:
    worse = -1e9 if name in ("cosine", "sqnr_db") else 1e9
    figures = GOOD | {name: worse if bad == "beyond" else math.nan}
    checks = check_all(figures, LIMITS)
    assert [check.figure for check in checks if not check.passed] == [name]
    assert verdict_of(checks, ()) == "fail"


def test_exactly_at_the_limit_passes() -> None:
    assert all(check.passed for check in check_all(GOOD | {"cosine": 0.98, "max_rel": 0.2}, LIMITS))


@pytest.mark.parametrize("name", REQUIRED_IF_KNOWN)
def test_a_figure_that_is_not_there_fails_its_limit(name: str) -> None:
    """And one that is there must have a limit; neither there is fine."""
    figures = {k: v for k, v in GOOD.items() if k != name}
    checks = check_all(figures, LIMITS)
    assert [check.figure for check in checks if not check.passed] == [name]
    limits = {k: v for k, v in LIMITS.items() if k != name}
    assert verdict_of(check_all(figures, limits), ()) == "pass"


@pytest.mark.parametrize("name", [*REQUIRED, *REQUIRED_IF_KNOWN])
def test_a_gate_with_a_hole_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=name):
        check_all(GOOD, {k: v for k, v in LIMITS.items() if k != name})


@pytest.mark.parametrize("limits", [LIMITS | {"max_abss": 1.0}, LIMITS | {"max_abs": math.nan}])
def test_a_limit_that_means_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(UserError, match="the gate has the limit"):
        check_all(GOOD, limits)


def test_doubt_and_silence_are_no_pass() -> None:
    good = Check("cosine", 1.0, 0.9, "min", passed=True)
    bad = Check("cosine", 0.1, 0.9, "min", passed=False)
    assert verdict_of((good,), ("too few",)) == "unknown"
    assert verdict_of((), ()) == "unknown"
    assert verdict_of((good, bad), ("too few",)) == "fail"
