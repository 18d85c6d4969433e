from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.emulation.cost import default_limit, estimated_seconds
from runtime.emulation.shards import choose_rows, merge, split_rows
from runtime.errors import UserError
from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION, Golden, GoldenCase
from runtime.manifest import ArtifactSpec
from runtime.parity.evidence import Evidence, Machine


def golden(*sets: str) -> Golden:
    cases = tuple(
        GoldenCase(f"{name}/{i}", name, "", (2,) * (1 + i % 7), (1,) * (1 + i % 7), None)
        for i, name in enumerate(sets)
    )
    return Golden(cases, np.zeros((len(cases), 2), dtype=np.float32))


def part(rows: tuple[int, ...], **values: object) -> Evidence:
    logits = np.array([[row, -row] for row in rows], dtype=np.float32)
    usual = Evidence("m.onnx", "ab", Machine("arm64"), {"version": "1"}, rows, logits)
    return replace(usual, **values)  # type: ignore[arg-type]


def test_natural_texts_are_spread_and_all_others_kept() -> None:
    cases = golden(*[VALIDATION] * 100, *[UNLABELLED] * 100, *[BOUNDARY] * 9, *[AWKWARD] * 11)
    rows = choose_rows(cases, 20)
    assert rows == choose_rows(cases, 20) == tuple(sorted(rows))
    natural = [row for row in rows if row < 200]
    assert len(natural) == 20
    assert (natural[0], natural[-1]) == (0, 199)
    assert sum(row < 100 for row in natural) == 10
    assert max(np.diff(natural)) <= 11
    assert [row for row in rows if row >= 200] == list(range(200, 220))
    assert choose_rows(cases, 1)[0] == 0


def test_a_small_set_runs_whole() -> None:
    cases = golden(*[VALIDATION] * 5, AWKWARD)
    assert choose_rows(cases, 300) == tuple(range(6))
    with pytest.raises(UserError, match="the limit is 0"):
        choose_rows(cases, 0)


def test_rows_are_shared_out_evenly_by_length() -> None:
    cases = golden(*[VALIDATION] * 70)
    rows = range(3, 70)
    parts = split_rows(cases, rows, 3)
    assert sorted(row for part in parts for row in part) == list(rows)
    assert all(list(part) == sorted(part) for part in parts)
    work = [sum(len(cases.cases[row].input_ids) for row in part) for part in parts]
    assert max(work) - min(work) <= 7
    assert split_rows(cases, [4, 9], 8) == [(9,), (4,)] or len(split_rows(cases, [4, 9], 8)) == 2
    with pytest.raises(UserError, match="no case"):
        split_rows(cases, [], 2)


def test_parts_become_one_and_the_worst_is_kept() -> None:
    merged = merge(
        [
            part((4, 0), measured={"padding_rel": 0.1, "cold_rel": 0.0}, lengths={32: 2}),
            part((2,), measured={"padding_rel": 0.3, "batch_rel": 0.2}, lengths={32: 1, 64: 1}),
        ]
    )
    assert merged.rows == (0, 2, 4)
    np.testing.assert_array_equal(merged.logits[:, 0], [0, 2, 4])
    assert merged.measured == {"padding_rel": 0.3, "cold_rel": 0.0, "batch_rel": 0.2}
    assert merged.lengths == {32: 3, 64: 1}


@pytest.mark.parametrize("order", [1, -1])
def test_not_a_number_is_worse_than_any(order: int) -> None:
    parts = [
        part((0,), measured={"padding_rel": math.nan, "cosine": 0.5}),
        part((1,), measured={"padding_rel": 0.0, "cosine": 0.9}),
    ][::order]
    measured = merge(parts).measured
    assert math.isnan(measured["padding_rel"])
    assert measured["cosine"] == 0.5, "of a figure with a lowest limit the lowest is the worst"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "cd"}, "sha256"),
        ({"machine": Machine("x86_64")}, "machine"),
        ({"environment": {"version": "2"}}, "environment"),
        ({"artifact": "other.onnx"}, "artifact"),
    ],
)
def test_unlike_parts_are_not_merged(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        merge([part((0,)), part((1,), **change)])
    assert said in caught.value.why
    with pytest.raises(UserError, match="the same case"):
        merge([part((0, 1)), part((1,))])


def test_a_large_model_runs_fewer_texts() -> None:
    assert default_limit(500_000) > default_limit(67_000_000) > 0


def test_the_estimate_grows_with_all_that_costs(bundle: Bundle) -> None:
    cases = golden(*[VALIDATION] * 40)
    int8, float32 = (bundle.artifact(name) for name in ("model_int8.tflite", "model.tflite"))

    def seconds(spec: ArtifactSpec, rows: int, parameters: int, jobs: int = 1) -> float:
        return estimated_seconds(spec, cases, range(rows), parameters, jobs)

    few = seconds(int8, 10, 1_000_000)
    assert few < seconds(int8, 40, 1_000_000)
    assert few < seconds(int8, 10, 67_000_000) < seconds(float32, 10, 67_000_000)
    assert seconds(int8, 40, 67_000_000, jobs=2) < seconds(int8, 40, 67_000_000)
