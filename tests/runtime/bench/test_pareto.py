"""The front: nobody on it is beaten in size, latency and flips at once."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from runtime.bench.pareto import Point, front_of, pareto_plot

SMALL = Point("small", ours=True, megabytes=48.0, ms=20.0, flips=3)
FAST = Point("fast", ours=True, megabytes=67.0, ms=13.0, flips=2)
RIGHT = Point("right", ours=False, megabytes=268.0, ms=50.0, flips=0)
BEATEN = Point("beaten", ours=False, megabytes=68.0, ms=19.0, flips=2)


def test_the_front_of_known_models() -> None:
    assert front_of([BEATEN, SMALL, FAST, RIGHT]) == [SMALL, FAST, RIGHT]


def test_equal_models_do_not_beat_each_other() -> None:
    twin = Point("twin", ours=False, megabytes=FAST.megabytes, ms=FAST.ms, flips=FAST.flips)
    assert front_of([FAST, twin]) == [FAST, twin]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3)), min_size=1))
def test_someone_is_always_on_the_front_and_everyone_else_is_beaten_by_it(
    figures: list[tuple[int, int, int]],
) -> None:
    points = [Point(str(i), True, a, b, c) for i, (a, b, c) in enumerate(figures)]
    front = front_of(points)
    assert front
    for point in points:
        assert point in front or any(p.beats(point) for p in front)


def test_the_plot_shows_every_model_and_rings_the_front() -> None:
    picture = pareto_plot("p", [FAST, BEATEN, SMALL, RIGHT])
    tree = ElementTree.fromstring(picture)
    circles = [e for e in tree.iter() if e.tag.endswith("circle")]
    assert len(circles) == 4
    assert sum("front" in e.get("class", "") for e in circles) == 3
    assert re.search(r"fast: 13 ms, 67 MB, 2 flips", picture)


def test_a_hostile_name_stays_text() -> None:
    picture = pareto_plot("p", [Point("<script>", True, 1.0, 1.0, 0)])
    assert "<script>" not in picture
