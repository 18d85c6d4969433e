"""The CI workflow calls what is there, and every check can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_demo.toolchain.downloads import ROOT
from android_demo.toolchain.workflow_files import workflow_problems
from runtime.errors import UserError

WORKFLOW = ROOT / ".github" / "workflows" / "android.yml"


def test_everything_that_the_workflow_calls_is_there() -> None:
    assert workflow_problems(WORKFLOW, ROOT) == []


def test_the_workflow_says_that_it_was_not_run() -> None:
    head = WORKFLOW.read_text(encoding="utf-8").splitlines()[:3]
    assert all(line.startswith("#") for line in head)
    assert "NOT RUN" in " ".join(head)


def test_both_emulators_and_the_gate_are_in_it() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    for needed in ("[30, 35]", "connectedDebugAndroidTest", "make replay", "kvm", "-P 16"):
        assert needed in text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("make replay", "make replays", "the Makefile has no target replays"),
        ("RESULTS=results.json", "RESULT=results.json", "the Makefile knows no RESULT="),
        ("actions/checkout@v7.0.1", "actions/checkout@v7", "not pinned to a full version"),
        ("actions/checkout@v7.0.1", "actions/checkout@main", "not pinned to a full version"),
        ("needs: build", "needs: builds", "needs the job builds"),
        (
            "android_demo.toolchain page",
            "android_demo.tools page",
            "no Python module android_demo.tools",
        ),
        (
            "working-directory: android_demo",
            "working-directory: android",
            "there is no folder android",
        ),
        (
            "working-directory: android_demo",
            "if: true",
            "there is no gradlew in the repository root",
        ),
        ("make android BUNDLE", "tools/put.sh BUNDLE", "there is no script tools/put.sh"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert old in text
    changed = tmp_path / "android.yml"
    changed.write_text(text.replace(old, new), encoding="utf-8")
    found = workflow_problems(changed, ROOT)
    assert any(sentence in problem for problem in found), found


@pytest.mark.parametrize("content", ["a: [", "name: x", "jobs: {}"])
def test_what_is_no_workflow_is_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "android.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"android\.yml"):
        workflow_problems(file, ROOT)
