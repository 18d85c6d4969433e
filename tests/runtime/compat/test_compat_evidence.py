"""What was run becomes what a manifest may state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from export.recipes import recipes
from runtime.bundle import COMPATIBILITY, Bundle
from runtime.compat.ask import BACKENDS
from runtime.compat.evidence import Seen, outcomes_of, proven, read_evidence, recorded
from runtime.compat.judge import Outcome, Ran, lowest_right
from runtime.compat.run import CompatReport, CompatSettings
from runtime.compat.runtimes import OldRuntime, version_key
from runtime.errors import BundleError


def _seen(**packages: dict[str, Outcome]) -> Seen:
    outcomes = {name.replace("_", "-"): versions for name, versions in packages.items()}
    return Seen("2026-11-22", "00", 1, outcomes)


def _report(bundle: Bundle, outcomes: dict[str, Outcome]) -> CompatReport:
    runs = [
        Ran(
            "model.onnx", OldRuntime("onnxruntime", version, "onnx", "onnxruntime", (), ()),
            "3.11", False, outcome, "", 1, {}, None,
        )
        for version, outcome in outcomes.items()
    ]  # fmt: skip
    return CompatReport(bundle, CompatSettings(), runs)


@pytest.mark.parametrize(
    ("computed", "outcomes", "stated"),
    [
        ("1.17.0", {"1.16.0": "refused", "1.17.0": "right", "1.18.0": "right"}, "1.17.0"),
        # The operators allow more than was seen to work: what was seen counts.
        ("1.15.0", {"1.15.0": "garbage", "1.17.0": "right"}, "1.17.0"),
        ("1.15.0", {"1.15.0": "right", "1.16.0": "crashed", "1.17.0": "right"}, "1.17.0"),
        # An older one was right: by luck, the operators' figure stands; but one that ran is stated.
        ("1.17.0", {"1.16.0": "right", "1.17.1": "right", "1.18.0": "right"}, "1.17.1"),
        ("1.9.0", {"1.10.0": "right", "1.9.2": "right"}, "1.9.2"),
        # Nothing of it ran.
        ("1.17.0", {}, "1.17.0"),
        ("1.17.0", {"1.12.0": "refused"}, "1.17.0"),
        ("1.17.0", {"1.17.0": "unjudged"}, "1.17.0"),
    ],
)
def test_a_minimum_is_raised_to_what_ran_and_never_lowered(
    computed: str, outcomes: dict[str, Outcome], stated: str
) -> None:
    seen = {"b": _seen(onnxruntime=outcomes)}
    assert proven({"onnxruntime": computed}, seen) == {"onnxruntime": stated}
    assert version_key(stated) >= version_key(computed)


def test_the_worst_of_several_bundles_counts() -> None:
    seen = {
        "small": _seen(ai_edge_litert={"1.0.1": "right", "1.4.0": "right"}),
        "full": _seen(ai_edge_litert={"1.0.1": "garbage", "1.4.0": "right"}),
    }
    assert proven({"ai-edge-litert": "1.0.1"}, seen) == {"ai-edge-litert": "1.4.0"}


def test_packages_with_one_numbering_are_read_together() -> None:
    """tflite-runtime ends at 2.14; TensorFlow's own interpreter goes on with its numbers."""
    seen = {"b": _seen(tflite_runtime={"2.14.0": "refused"}, tensorflow_cpu={"2.18.0": "right"})}
    assert proven({"tensorflow": "2.17.0", "iOS": "16"}, seen) == {
        "tensorflow": "2.18.0",
        "iOS": "16",
    }


def test_runs_are_kept_and_those_of_another_file_replaced(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(recorded(path, _report(bundle, {"1.17.0": "right"})))
    path.write_text(recorded(path, _report(bundle, {"1.18.0": "right", "1.16.0": "refused"})))
    family = bundle.manifest.source.family
    (seen,) = read_evidence(path).of("onnx", "float32", family).values()
    assert seen.outcomes == {
        "onnxruntime": {"1.16.0": "refused", "1.17.0": "right", "1.18.0": "right"}
    }
    assert seen.sha256 == bundle.artifact("model.onnx").sha256
    assert read_evidence(path).of("onnx", "float32", "bert") == {}
    other = tuple(replace(a, sha256="another") for a in bundle.manifest.artifacts)
    changed = Bundle(bundle.path, replace(bundle.manifest, artifacts=other))
    path.write_text(recorded(path, _report(changed, {"1.18.0": "garbage"})))
    (seen,) = read_evidence(path).of("onnx", "float32", family).values()
    assert seen.outcomes == {"onnxruntime": {"1.18.0": "garbage"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("{}", "lacks the field"),
        ('{"schema_version":9,"recipes":{}}', "version 9"),
    ],
)
def test_damaged_evidence_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=words):
        read_evidence(path)


def test_a_manifest_never_promises_less_than_what_ran_and_was_right(bundle: Bundle) -> None:
    """Of the artifacts that an export makes today, with the evidence that is committed."""
    evidence = read_evidence()
    told = json.loads(bundle.file(COMPATIBILITY).read_bytes())["artifacts"]
    checked = 0
    for artifact in bundle.manifest.artifacts:
        seen = evidence.of(artifact.format, artifact.recipe, bundle.manifest.source.family)
        assert told[artifact.path]["minimum_runtime"] == artifact.minimum_runtime
        assert set(told[artifact.path]["ran"]) == set(seen)
        for claim, stated in artifact.minimum_runtime.items():
            outcomes = outcomes_of(claim, seen)
            low = lowest_right(outcomes)
            if low is not None:
                assert version_key(stated) >= version_key(low)
                assert outcomes[stated] == "right"
                checked += 1
    assert checked >= 4


def test_every_recipe_that_is_made_by_default_was_run() -> None:
    """A new one has no evidence: run `mobile-runtime compat BUNDLE --record …/evidence.json`."""
    evidence = read_evidence()
    for target in BACKENDS:
        for recipe in recipes(target).values():
            if recipe.default:
                seen = evidence.of(target, recipe.name, "distilbert")
                ran = {
                    outcome
                    for one in seen.values()
                    for v in one.outcomes.values()
                    for outcome in v.values()
                }
                assert "right" in ran, (target, recipe.name)
                assert not ran & {"garbage", "crashed", "silent", "unjudged"}, (target, recipe.name)
