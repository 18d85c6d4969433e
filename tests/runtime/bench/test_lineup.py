"""Several bundles in one run: who is held against whom, over which texts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bench.contestants import contestants_of_all
from runtime.bench.document import bench_document
from runtime.bench.lineup import Lineup, Member, lineup_of, shared_rows, under_thresholds
from runtime.bench.plan import BenchPlan
from runtime.bench.run import run_bench
from runtime.bundle import GOLDEN, Bundle
from runtime.decisions import decisions
from runtime.errors import UserError
from runtime.golden import VALIDATION, Golden, read_golden
from runtime.manifest import TaskSpec


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.file(GOLDEN))


def _student(golden: Golden) -> Golden:
    """Other answers, other ids, the texts in another order and one of them missing."""
    order = list(range(len(golden.cases)))[::-1][:-1]
    cases = tuple(replace(golden.cases[i], input_ids=(2, 3), attention_mask=(1, 1)) for i in order)
    return Golden(cases=cases, reference=-golden.reference[order])


def _lineup(bundle: Bundle, *goldens: Golden) -> Lineup:
    members = tuple(
        Member(f"bundle-{i}", bundle.manifest, golden, "not counted")
        for i, golden in enumerate(goldens)
    )
    return Lineup(members, shared_rows(goldens))


def test_texts_are_matched_by_what_they_say(golden: Golden) -> None:
    student = _student(golden)
    first, other = shared_rows([golden, student])
    assert len(first) >= len(golden.cases) - 1
    for mine, its in zip(first, other, strict=True):
        assert golden.cases[mine].text == student.cases[its].text
        assert golden.cases[mine].set == student.cases[its].set


def test_another_true_label_makes_it_another_case(golden: Golden) -> None:
    place = next(i for i, case in enumerate(golden.cases) if case.set == VALIDATION)
    cases = list(golden.cases)
    cases[place] = replace(cases[place], targets=(1 - (cases[place].targets or (0,))[0],))
    relabelled = Golden(cases=tuple(cases), reference=golden.reference)
    first, _ = shared_rows([golden, relabelled])
    assert place not in first


def test_a_student_agrees_with_itself_and_not_with_its_teacher(
    bundle: Bundle, golden: Golden
) -> None:
    student = _student(golden)
    lineup = _lineup(bundle, golden, student)
    own = lineup.members[1].figures(student.reference)
    held = lineup.against_first(1, student.reference)
    assert own["flips"] == 0
    # The opposite logits choose the other label of two, wherever the teacher was not undecided.
    assert held["flips"] > 0.9 * held["decisions"] > 0
    assert lineup.against_first(0, golden.reference)["flips"] == 0


def test_one_bundle_is_held_against_itself_over_all_its_texts(
    bundle: Bundle, golden: Golden
) -> None:
    lineup = _lineup(bundle, golden)
    assert lineup.against_first(0, golden.reference) == lineup.members[0].figures(golden.reference)
    assert lineup.doubts() == []


def test_bundles_without_a_common_text_are_not_compared(bundle: Bundle, golden: Golden) -> None:
    cases = tuple(replace(case, text=f"other {case.text}") for case in golden.cases)
    other = Golden(cases=cases, reference=golden.reference)
    lineup = _lineup(bundle, golden, other)
    assert lineup.against_first(1, other.reference) == {}
    assert "no text in common" in lineup.doubts()[0]
    (few,) = _lineup(bundle, golden, _student(golden)).doubts() or ["all"]
    assert few == "all" or "natural texts that every bundle has" in few


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ("other", "labels")}, "their labels differ"),
        ({"kind": "multi_label", "activation": "sigmoid", "thresholds": (0.5, 0.5)}, "kinds of"),
    ],
)
def test_other_tasks_are_refused_in_a_sentence(
    bundle: Bundle, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    manifest = bundle.manifest
    task = replace(manifest.task, **change)  # type: ignore[arg-type]
    other = Bundle(tmp_path, replace(manifest, task=task))
    with pytest.raises(UserError, match="another task") as raised:
        lineup_of([bundle, other])
    assert words in str(raised.value)


def test_the_same_bundle_twice_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UserError, match="named twice"):
        lineup_of([bundle, bundle])


def test_folders_of_one_name_are_told_apart(bundle: Bundle, tmp_path: Path) -> None:
    folders = [tmp_path / name / "onnx" for name in ("teacher", "student")]
    for folder in folders:
        shutil.copytree(bundle.path, folder)
    found = lineup_of([Bundle(folder, bundle.manifest) for folder in folders])
    assert [member.label for member in found.members] == ["teacher/onnx", "student/onnx"]


def test_own_thresholds_decide_under_anothers() -> None:
    labels = ("a", "b", "c")
    own = TaskSpec("multi_label", "sigmoid", labels, thresholds=(0.2, 0.5, 0.9))
    other = TaskSpec("multi_label", "sigmoid", labels, thresholds=(0.6, 0.5, 0.3))
    logits = np.random.default_rng(0).normal(0, 3, (500, 3)).astype(np.float32)
    moved = under_thresholds(logits, own, other)
    assert np.array_equal(decisions(moved, other), decisions(logits, own))
    assert not np.array_equal(decisions(logits, other), decisions(logits, own))
    assert under_thresholds(logits, own, own) is logits


def test_two_bundles_in_one_run(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    shutil.copytree(bundle.path, folder)
    bundles = [bundle, Bundle(folder, bundle.manifest)]
    lineup = lineup_of(bundles)
    labels = [member.label for member in lineup.members]
    contestants = contestants_of_all(bundles, labels, "model_int8.onnx")
    assert [c.name for c in contestants] == [f"{label}/model_int8.onnx" for label in labels]
    plan = BenchPlan(lengths=(16,), threads=(1,), throughput=0, rounds=5, sittings=2)
    document = bench_document(run_bench(lineup, contestants, plan))
    assert [b["label"] for b in document["bundles"]] == labels
    rows = {row["name"]: row for row in document["rows"] if row["group"] == "ours"}
    first, other = (rows[c.name] for c in contestants)
    assert (first["bundle"], other["bundle"]) == tuple(labels)
    assert first["against_first"] == other["against_first"] == first["figures"]
    assert first["cells"][0]["ratio"] is not None
    with pytest.raises(UserError, match="no artifact is called"):
        contestants_of_all(bundles, labels, "gguf")
