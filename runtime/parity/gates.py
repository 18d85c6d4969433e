"""Limits on figures, and the verdict they give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runtime.errors import UserError
from runtime.manifest import Verdict


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be gated.

    Attributes:
        bound: ``max`` where the limit is the highest value allowed, ``min`` where the lowest.
        unit: for reports.
        meaning: one line for reports.
    """

    bound: Literal["max", "min"]
    unit: str
    meaning: str


FIGURES = {
    "max_abs": Figure("max", "logits", "largest difference of a logit"),
    "p99_abs": Figure("max", "logits", "99% of the differences are below"),
    "mean_abs": Figure("max", "logits", "mean difference"),
    "max_rel": Figure("max", "", "largest difference over the reference's root mean square"),
    "cosine": Figure("min", "", "cosine of all logits"),
    "sqnr_db": Figure("min", "dB", "signal to quantization noise"),
    "flip_rate": Figure("max", "", "share of decisions on validation texts that differ"),
    "large_margin_flips": Figure("max", "", "flips where the reference was sure"),
    "padding_rel": Figure(
        "max", "", "change of a logit by padding, over the reference's root mean square"
    ),
    "metric_drop": Figure("max", "", "task metric, reference minus artifact"),
    "compression_max_abs": Figure(
        "max", "logits", "PyTorch with the artifact's weights against PyTorch"
    ),
    "graph_max_abs": Figure(
        "max", "logits", "artifact in float32 against PyTorch with the artifact's weights"
    ),
    "precision_max_abs": Figure("max", "logits", "artifact as it runs against it in float32"),
    "probabilities_max_abs": Figure(
        "max", "", "a classifier's own probabilities against the activation of its logits"
    ),
    "changed_weights": Figure("max", "", "weights whose values are not those that were exported"),
}

# Every gate must hold these: without one of them a kind of fault can pass unseen.
REQUIRED = (
    "max_rel",
    "cosine",
    "sqnr_db",
    "flip_rate",
    "large_margin_flips",
    "padding_rel",
    "metric_drop",
)


# A figure that not every runtime can give must be gated where it is given.
REQUIRED_IF_KNOWN = ("graph_max_abs", "probabilities_max_abs", "changed_weights")


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit."""

    figure: str
    value: float
    limit: float
    bound: Literal["max", "min"]
    passed: bool


def check_all(figures: dict[str, float], limits: dict[str, float]) -> tuple[Check, ...]:
    """Compare figures with limits; NaN passes no limit, and non-finite logits fail by themselves.

    Raises:
        UserError: a limit for a figure that does not exist, a limit that is NaN, or a limit that
            is missing although the figure is required or is there: a gate with a hole is no gate.
    """
    missing = [name for name in REQUIRED if name not in limits]
    missing += [name for name in REQUIRED_IF_KNOWN if name in figures and name not in limits]
    if missing:
        raise UserError(f"the gate has no limit for {', '.join(missing)}")
    for name, limit in limits.items():
        if name not in FIGURES or math.isnan(limit):
            raise UserError(
                f"the gate has the limit {name} = {limit}",
                why=f"a limit is a number for one of: {', '.join(FIGURES)}",
            )
    checks = [
        Check("non_finite", figures["non_finite"], 0.0, "max", passed=figures["non_finite"] == 0.0)
    ]
    # In FIGURES' order, so that the report does not depend on how the limits were stored.
    for name in sorted(limits, key=list(FIGURES).index):
        limit, bound = limits[name], FIGURES[name].bound
        value = figures.get(name, math.nan)
        passed = value <= limit if bound == "max" else value >= limit
        checks.append(Check(name, value, limit, bound, passed=passed))
    return tuple(checks)


def verdict_of(checks: tuple[Check, ...], unknown: tuple[str, ...]) -> Verdict:
    """A failed check fails; a reason for doubt makes a pass unknown; no checks are no pass."""
    if any(not check.passed for check in checks):
        return "fail"
    return "unknown" if unknown or not checks else "pass"
