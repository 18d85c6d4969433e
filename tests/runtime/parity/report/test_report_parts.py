from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.golden import BOUNDARY
from runtime.parity.gates import Check
from runtime.parity.report.axes import Scale, linear, logarithmic
from runtime.parity.report.comparison import compare, thin
from runtime.parity.report.formats import percent, short, size, used, used_words, written
from runtime.parity.report.markup import Html, element, shown_text
from runtime.parity.report.worst import worst_rows

from .conftest import World


@pytest.mark.parametrize(
    ("figure", "value", "limit", "bound", "share"),
    [
        ("max_abs", 0.5, 2.0, "max", 0.25),
        ("max_abs", 3.0, 2.0, "max", 1.5),
        ("large_margin_flips", 0.0, 0.0, "max", 0.0),
        ("large_margin_flips", 1.0, 0.0, "max", math.inf),
        ("metric_drop", -0.2, 0.1, "max", 0.0),
        ("max_abs", math.inf, 2.0, "max", math.inf),
        ("max_abs", math.nan, 2.0, "max", math.nan),
        ("max_abs", 1e9, math.inf, "max", 0.0),
        ("cosine", 0.999, 0.99, "min", 0.1),
        ("cosine", 1.0, 0.99, "min", 0.0),
        ("sqnr_db", 40.0, 20.0, "min", 0.1),
        ("sqnr_db", math.inf, 20.0, "min", 0.0),
        ("sqnr_db", -math.inf, 20.0, "min", math.inf),
    ],
)
def test_how_much_of_a_limit_is_used(
    figure: str, value: float, limit: float, bound: str, share: float
) -> None:
    check = Check(figure, value, limit, "min" if bound == "min" else "max", "pass")
    assert used(check) == pytest.approx(share, nan_ok=True)
    if not math.isnan(share):  # within its share exactly where it meets the limit
        assert (used(check) <= 1) == (value <= limit if bound == "max" else value >= limit)


def test_numbers_for_people() -> None:
    assert [short(v) for v in (0.0, 1.0, 0.0123456, 1234.5, 1.07e-5, 2e-7)] == [
        *("0", "1", "0.0123", "1,234", "1.07e-5", "2e-7"),
    ]
    assert [percent(v) for v in (0.0, 0.0034, 0.04634, 1.0)] == ["0%", "0.34%", "4.63%", "100%"]
    assert written("cosine", 0.9999999999) == "1 − 1e-10"
    assert written("cosine", 1.0) == "1"
    assert written("sqnr_db", math.inf) == "∞ dB"
    assert written("flip_rate_bound", math.nan) == "not a number"
    assert [size(n) for n in (12, 630_000, 66_960_000)] == ["12 B", "630 kB", "67 MB"]
    assert used_words(0.004) == "<1%"
    assert used_words(1.0) == "100%"
    assert used_words(1.001) == "1× the limit"


def test_what_is_not_markup_is_escaped() -> None:
    assert element("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert element("p", Html("<b/>"), None) == "<p><b/></p>"
    assert shown_text("a b") == '<bdi class="text">a b</bdi>'
    assert shown_text("\u200b" * 7) == '<bdi class="text"><span class="esc">\\u200b×7</span></bdi>'
    assert "empty" in shown_text("")


def test_thinning_keeps_what_it_must_and_covers_the_rest() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 300, 5000), rng.uniform(0, 200, 5000)
    keep = np.zeros(5000, dtype=np.bool_)
    keep[[17, 4000]] = True
    chosen, sparse = thin(x, y, keep, 400)
    assert sparse
    assert {17, 4000} <= set(chosen.tolist())
    assert len(chosen) <= 402
    assert (np.diff(chosen) > 0).all()
    assert (chosen == thin(x, y, keep, 400)[0]).all()
    # No hole: every point has a drawn one near.
    distance = np.hypot(x[:, None] - x[chosen], y[:, None] - y[chosen]).min(axis=1)
    assert distance.max() < 30
    few, sparse = thin(x[:50], y[:50], keep[:50], 400)
    assert len(few) == 50
    assert not sparse


def test_axes() -> None:
    scale = logarithmic(np.array([0.0, 2e-4, 0.3, np.nan, np.inf]), 50.0, 450.0)
    assert (scale.low, scale.high, scale.zero) == (-4.0, 0.0, True)
    assert [label for _, label in scale.ticks()] == ["0", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰"]
    assert scale.at(0.0) == 50.0
    assert scale.at(1.0) == 450.0
    places = [float(scale.at(value)) for value, _ in scale.ticks()]
    assert places == sorted(places)
    straight = linear(np.array([-3.0, 9.0]), 242.0, 14.0)
    assert [label for _, label in straight.ticks()] == ["−2", "0", "2", "4", "6", "8"]
    assert straight.at(-3.0) > straight.at(9.0)  # up is up
    for nothing in (linear(np.array([]), 0.0, 1.0), logarithmic(np.array([]), 0.0, 1.0)):
        assert nothing.ticks()
    assert [label for _, label in Scale(0.0, 5e4, 0.0, 1.0).ticks()][-1] == "50k"


def test_the_worst_texts_come_in_order(world: World) -> None:
    """Not finite, then the surest flips of texts that were not made to flip, then errors."""
    logits = world.golden.reference.copy()
    boundary = int(world.golden.rows(BOUNDARY)[0])
    sure = np.ptp(world.golden.reference[:100], axis=1)
    first, second = (int(row) for row in np.argsort(-sure)[:2])
    for row in (first, second):
        logits[row] = world.golden.reference[row][::-1]
    before = world.golden.reference.argmax(axis=1)
    flipped = [row for row in (first, second) if logits[row].argmax() != before[row]]
    logits[boundary] = -world.golden.reference[boundary]
    logits[70] += 1e4
    logits[90, 1] = np.inf
    report = world.report(world.evidence(logits=logits))
    found = compare(report.artifacts[0], world.golden, world.manifest.task)
    order = worst_rows(found)
    assert order[0] == 90
    margins = found.margins[:, 0]
    expected = sorted(flipped, key=lambda row: -margins[row])
    assert expected
    assert order[1 : 1 + len(expected)] == expected
    assert order[1 + len(expected)] == 70
    assert order[2 + len(expected)] == boundary
