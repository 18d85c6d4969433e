from __future__ import annotations

import math

import pytest

from runtime.errors import UserError
from runtime.parity.gates import FIGURES, REQUIRED, REQUIRED_IF_KNOWN, Check, check_all, verdict_of

BOUNDS = [name for name, figure in FIGURES.items() if figure.estimate]
LIMITS = dict.fromkeys(FIGURES, 0.5)
GOOD = {"non_finite": 0.0} | {
    name: 0.6 if figure.bound == "min" else 0.1 for name, figure in FIGURES.items()
}
# A sample large enough to prove any limit above 0.05, and that shows nothing.
for _name in BOUNDS:
    GOOD |= {f"{_name}_lower": 0.0, f"{_name}_floor": 0.05}


def test_within_all_limits_passes() -> None:
    assert verdict_of(check_all(GOOD, LIMITS), ()) == "pass"


@pytest.mark.parametrize("name", [*FIGURES, "non_finite"])
@pytest.mark.parametrize("bad", ["beyond", "nan"])
def test_each_figure_alone_can_fail_the_gate(name: str, bad: str) -> None:
    worse = -1e9 if name in FIGURES and FIGURES[name].bound == "min" else 1e9
    figures = GOOD | {name: worse if bad == "beyond" else math.nan}
    if name in BOUNDS and bad == "beyond":
        figures[f"{name}_lower"] = 1e9
    checks = check_all(figures, LIMITS)
    assert [check.figure for check in checks if not check.passed] == [name]
    assert verdict_of(checks, ()) == "fail"


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    ("bound", "lower", "floor", "estimate", "verdict"),
    [
        (0.5, 0.0, 0.05, 0.1, "pass"),
        (0.6, 0.0, 0.05, 0.4, "unknown"),  # a large sample that is just too small for 0.4
        (0.6, 0.0, 0.05, 0.55, "fail"),  # a large sample that shows more than is allowed
        (0.9, 0.0, 0.55, 0.0, "unknown"),  # too small to prove anything
        (0.9, 0.1, 0.55, 0.6, "unknown"),  # too small, and what it shows may be chance
        (0.9, 0.51, 0.55, 0.7, "fail"),  # small, and still no chance
        (math.nan, 0.0, 0.05, 0.0, "fail"),
    ],
)
def test_a_bound_passes_fails_or_cannot_tell(
    name: str, bound: float, lower: float, floor: float, estimate: float, verdict: str
) -> None:
    figures = GOOD | {name: bound, f"{name}_lower": lower, f"{name}_floor": floor}
    figures[FIGURES[name].estimate] = estimate
    limits = {k: v for k, v in LIMITS.items() if k != FIGURES[name].estimate}
    checks = check_all(figures, limits, {name: "more texts"})
    (check,) = (check for check in checks if check.figure == name)
    assert check.verdict == verdict == verdict_of(checks, ())
    assert check.note == ("more texts" if verdict == "unknown" else "")


def test_exactly_at_the_limit_passes() -> None:
    assert all(check.passed for check in check_all(GOOD | {"cosine": 0.5, "max_rel": 0.5}, LIMITS))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_figure_that_is_not_there_fails(name: str) -> None:
    checks = check_all({k: v for k, v in GOOD.items() if k != name}, LIMITS)
    assert [check.figure for check in checks if not check.passed] == [name]


@pytest.mark.parametrize("name", REQUIRED_IF_KNOWN)
def test_a_figure_that_this_machine_cannot_give_is_not_checked(name: str) -> None:
    """The judge says so; whether that matters depends on who else measured it."""
    figures = {k: v for k, v in GOOD.items() if k != name}
    assert name not in [check.figure for check in check_all(figures, LIMITS)]
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
    good = Check("cosine", 1.0, 0.9, "min", "pass")
    bad = Check("cosine", 0.1, 0.9, "min", "fail")
    assert verdict_of((good,), ("too few",)) == "unknown"
    assert verdict_of((), ()) == "unknown"
    assert verdict_of((good, bad), ("too few",)) == "fail"
    open_ = Check("flip_rate_bound", 0.1, 0.05, "max", "unknown")
    assert verdict_of((good, open_), ()) == "unknown"
    assert verdict_of((good, open_, bad), ()) == "fail"
