"""How figures are written for people; the exact value stays in the page beside it."""

from __future__ import annotations

import math

from runtime.parity.gates import FIGURES, Check
from runtime.parity.report.markup import Html, element

# Shares of texts or of decisions, which people read as percent.
SHARES = frozenset({"flip_rate", "flip_rate_bound", "boundary_flip_rate"})
COUNTS = frozenset({"non_finite", "large_margin_flips", "changed_weights"})


def figure(name: str, value: float) -> Html:
    """A figure as a ``data`` element: rounded to look at, exact in its value."""
    return element("data", written(name, value), value=repr(float(value)))


def written(name: str, value: float) -> str:
    """A figure in its own unit: ``0.34%``, ``134.6 dB``, ``1 − 2e-14``."""
    if name in SHARES:
        return percent(value)
    if name == "metric" and math.isfinite(value):
        return f"{value:.4f}"
    if name in COUNTS and math.isfinite(value):
        return f"{value:,.0f}"
    if name == "cosine":
        # 0.99999999 would round to 1, which only equal logits deserve.
        return f"1 − {short(1.0 - value)}" if 0.5 < value < 1.0 else short(value)
    if name == "sqnr_db" and not math.isnan(value):
        return f"{value:.1f} dB" if math.isfinite(value) else f"{short(value)} dB"
    return short(value)


def short(value: float) -> str:
    """Three digits; plain where that is short, with a power of ten where not."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.3g}" if abs(value) < 1e3 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def percent(value: float) -> str:
    """A share as percent with two digits that say something."""
    if not math.isfinite(value):
        return short(value)
    scaled = value * 100.0
    return f"{scaled:.2g}%" if 0.0 < abs(scaled) < 1.0 else f"{scaled:.3g}%"


def size(count: int) -> str:
    """Bytes in decimal units, as app stores count them."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000.0
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value:.3g} TB"


def used(check: Check, value: float | None = None) -> float:
    """How much of its limit a check uses: 0 to 1 is within, above 1 is not; NaN stays NaN.

    For a cosine it is the distance from 1, for decibels the amplitude of the noise.

    Args:
        check: for the figure, the limit and the bound.
        value: another value to place against the same limit, such as the one once observed.
    """
    value = check.value if value is None else value
    limit = check.limit
    if check.figure == "cosine":
        value, limit = 1.0 - value, 1.0 - limit
    elif check.figure == "sqnr_db":
        value, limit = 10.0 ** (-value / 20.0), 10.0 ** (-limit / 20.0)
    elif check.bound == "min":
        value, limit = limit, value
    if math.isnan(value) or math.isnan(limit):
        return math.nan
    if value <= 0.0 or math.isinf(limit):
        return 0.0
    return value / limit if limit > 0.0 else math.inf


def used_words(share: float) -> str:
    """``34%`` of the limit, or how many times over it."""
    if math.isnan(share):
        return "no value"
    if math.isinf(share):
        return "none allowed"
    if share > 1.0:
        return f"{short(share)}× the limit"
    return "0%" if share == 0.0 else ("<1%" if share < 0.01 else f"{share:.0%}")


def unit(name: str) -> str:
    """The unit after a figure that `written` leaves bare."""
    given = FIGURES[name].unit if name in FIGURES else ""
    return "" if given == "dB" or name in SHARES else given


def meaning(name: str) -> str:
    """One line on what a figure is."""
    if name == "non_finite":
        return "logits that are NaN or infinite"
    return FIGURES[name].meaning if name in FIGURES else ""
