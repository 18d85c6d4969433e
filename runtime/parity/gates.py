"""Limits on figures, and the verdict they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.errors import UserError
from runtime.manifest import Verdict

Bound = Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be gated.

    Attributes:
        bound: ``max`` where the limit is the highest value allowed, ``min`` where the lowest.
        unit: for reports.
        meaning: one line for reports.
        estimate: for a bound that a sample gives: the figure that it bounds. `NAME_lower` is the
            bound from the other side and `NAME_floor` the lowest bound that so many texts allow.
    """

    bound: Bound
    unit: str
    meaning: str
    estimate: str = ""


_SHARE = "largest change of a logit {}, over the reference's root mean square"

FIGURES = {
    "max_abs": Figure("max", "logits", "largest difference of a logit"),
    "p99_abs": Figure("max", "logits", "99% of the differences are below"),
    "mean_abs": Figure("max", "logits", "mean difference"),
    "max_rel": Figure("max", "", "largest difference over the reference's root mean square"),
    "cosine": Figure("min", "", "cosine of all logits"),
    "cosine_min": Figure("min", "", "smallest cosine of a text's vector with the reference's"),
    "sqnr_db": Figure("min", "dB", "signal to quantization noise"),
    "kl_mean": Figure("max", "nats", "mean KL divergence of the probabilities"),
    "flip_rate": Figure(
        "max", "", "share of natural texts whose decision differs; the worst label's"
    ),
    "flip_rate_bound": Figure(
        "max", "", "95% upper bound on the share of texts whose decision differs", "flip_rate"
    ),
    "large_margin_flips": Figure("max", "", "flips where the reference was sure"),
    "neighbour_regret": Figure(
        "max", "", "cosine that a text loses, by the reference, with the artifact's neighbour"
    ),
    "boundary_flip_rate": Figure("max", "", "share of nearly undecided texts that flip"),
    "metric_drop": Figure("max", "", "task metric, reference minus artifact"),
    "metric_drop_bound": Figure(
        "max", "", "95% upper bound on the loss of the task metric, paired", "metric_drop"
    ),
    "ece_change": Figure("max", "", "change of the expected calibration error, up or down"),
    "padding_rel": Figure("max", "", _SHARE.format("by padding")),
    "bucket_rel": Figure("max", "", _SHARE.format("at another sequence length")),
    "batch_rel": Figure("max", "", _SHARE.format("beside other texts in a batch")),
    "order_rel": Figure("max", "", _SHARE.format("when the texts come in reverse")),
    "repeat_rel": Figure("max", "", _SHARE.format("when the same text comes again")),
    "cold_rel": Figure("max", "", _SHARE.format("as the first text of a new session")),
    "threads_rel": Figure("max", "", _SHARE.format("with two threads")),
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
    "kl_mean",
    "flip_rate_bound",
    "large_margin_flips",
    "metric_drop_bound",
    "ece_change",
)

# A figure that not every machine or bundle can give must be gated where it is given.
REQUIRED_IF_KNOWN = (
    "boundary_flip_rate",
    "padding_rel",
    "bucket_rel",
    "batch_rel",
    "order_rel",
    "repeat_rel",
    "cold_rel",
    "threads_rel",
    "graph_max_abs",
    "probabilities_max_abs",
    "changed_weights",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit.

    Attributes:
        verdict: ``unknown`` only for a bound, when the sample is too small to tell.
        note: what would settle an unknown one; empty otherwise.
    """

    figure: str
    value: float
    limit: float
    bound: Bound
    verdict: Verdict
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the limit is met."""
        return self.verdict == "pass"


def check_all(
    figures: Mapping[str, float],
    limits: Mapping[str, float],
    notes: Mapping[str, str] | None = None,
    *,
    required: tuple[str, ...] = REQUIRED,
) -> tuple[Check, ...]:
    """Compare figures with limits; NaN meets no limit, and non-finite logits fail by themselves.

    Args:
        figures: name → value.
        limits: name → limit; one for a figure that `figures` lacks is left out unless required.
        notes: figure → what to say where the sample is too small for its limit.
        required: figures that must have a limit.

    Raises:
        UserError: a limit for a figure that does not exist, a limit that is NaN, or a limit that
            is missing although the figure is required or is there: a gate with a hole is no gate.
    """
    missing = [name for name in required if name not in limits]
    missing += [name for name in REQUIRED_IF_KNOWN if name in figures and name not in limits]
    if missing:
        raise UserError(f"the gate has no limit for {', '.join(missing)}")
    for name, limit in limits.items():
        if name not in FIGURES or math.isnan(limit):
            raise UserError(
                f"the gate has the limit {name} = {limit}",
                why=f"a limit is a number for one of: {', '.join(FIGURES)}",
            )
    broken = figures["non_finite"]
    checks = [Check("non_finite", broken, 0.0, "max", "pass" if broken == 0.0 else "fail")]
    # In FIGURES' order, so that the report does not depend on how the limits were stored.
    for name in sorted(limits, key=list(FIGURES).index):
        if name in REQUIRED_IF_KNOWN and name not in figures:
            continue
        value, limit, bound = figures.get(name, math.nan), limits[name], FIGURES[name].bound
        verdict = _verdict(name, figures, limit)
        note = (notes or {}).get(name, "") if verdict == "unknown" else ""
        checks.append(Check(name, value, limit, bound, verdict, note))
    return tuple(checks)


def _verdict(name: str, figures: Mapping[str, float], limit: float) -> Verdict:
    value, figure = figures.get(name, math.nan), FIGURES[name]
    if value <= limit if figure.bound == "max" else value >= limit:
        return "pass"
    if not figure.estimate or math.isnan(value):
        return "fail"
    # The bound is above the limit. The sample proves a fault, or shows one although it is large
    # enough for the limit; otherwise it is too small to tell.
    if figures[f"{name}_lower"] > limit:
        return "fail"
    large_enough = figures[f"{name}_floor"] <= limit
    return "fail" if large_enough and figures[figure.estimate] > limit else "unknown"


def verdict_of(checks: tuple[Check, ...], doubts: tuple[str, ...]) -> Verdict:
    """A failed check fails; an open one or a reason for doubt is unknown; no checks are no pass."""
    if any(check.verdict == "fail" for check in checks):
        return "fail"
    open_ = doubts or not checks or any(check.verdict != "pass" for check in checks)
    return "unknown" if open_ else "pass"
