"""The front: nobody on it is beaten in size, latency and flips at once."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bench.pareto import Point, front_of, pareto_plot
from runtime.parity.report.axes import BOTTOM, TOP

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


def test_who_is_right_by_the_labels_has_a_front_of_its_own() -> None:
    teacher = Point("teacher", True, 67.0, 13.0, flips=1, metric=0.90)
    student = Point("student", True, 67.0, 13.0, flips=80, metric=0.92)
    assert front_of([teacher, student], "flips") == [teacher]
    assert front_of([teacher, student], "metric") == [student]


def test_what_is_not_known_beats_nobody() -> None:
    unknown = Point("unknown", True, 67.0, 13.0, flips=math.nan)
    known = Point("known", True, 67.0, 13.0, flips=500)
    assert front_of([unknown, known]) == [known]
    assert pareto_plot("p", [unknown])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=18))
def test_no_number_leaves_the_frame_or_lies_on_another(sizes: list[tuple[int, int]]) -> None:
    points = [Point(str(i), True, float(a), float(b), 0) for i, (a, b) in enumerate(sizes)]
    tree = ElementTree.fromstring(pareto_plot("p", points))
    numbers = [
        (float(e.get("x", "")), float(e.get("y", "")))
        for e in tree.iter()
        if e.tag.endswith("text") and e.get("class") is None
    ]
    assert len(numbers) == len(points)
    assert all(TOP <= y - 4 <= BOTTOM for _, y in numbers)
    for i, (x, y) in enumerate(numbers):
        for a, b in numbers[:i]:
            assert abs(x - a) >= 25.8 or abs(y - b) >= 11.8


def test_a_hostile_name_stays_text() -> None:
    picture = pareto_plot("p", [Point("<script>", True, 1.0, 1.0, 0)])
    assert "<script>" not in picture
