"""Artifacts in the runtimes of this very interpreter, whole and spoilt; runtimes that misbehave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_support import with_bytes

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.compat.ask import Answer, ask, spread
from runtime.compat.judge import Ran, contradictions, judged, lowest_right, worst_of
from runtime.compat.run import (
    CompatReport,
    CompatSettings,
    artifacts_of,
    installed_beside,
    run_compat,
)
from runtime.compat.runtimes import OldRuntime, read_runtimes
from runtime.errors import UserError
from runtime.golden import AWKWARD, BOUNDARY, NATURAL, Golden, read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import GateSpec

FEW = CompatSettings(texts=16, patience=60.0)


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.file(GOLDEN))


@pytest.fixture(scope="module")
def gates(bundle: Bundle) -> dict[str, GateSpec]:
    return read_gates(bundle.file(PARITY))


def _here(kind: str) -> OldRuntime:
    """The runtime that this interpreter has, as if it were an old one."""
    return next(one for one in installed_beside(read_runtimes()) if one.format == kind)


def _run(
    bundle: Bundle, path: str, golden: Golden, gates: dict[str, GateSpec], *, plain: bool = False
) -> CompatReport:
    artifact = bundle.artifact(path)
    return run_compat(
        bundle, [artifact], golden, gates, [_here(artifact.format)], replace(FEW, plain=plain),
        folder=Path("/nowhere"),
    )  # fmt: skip


def test_every_artifact_is_right_in_todays_runtimes(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec]
) -> None:
    told: list[tuple[int, int]] = []
    artifacts = artifacts_of(bundle, None)
    assert {a.format for a in artifacts} == {"onnx", "tflite"}
    report = run_compat(
        bundle, artifacts, golden, gates, installed_beside(read_runtimes()),
        replace(FEW, plain=True), folder=Path("/nowhere"), progress=lambda *now: told.append(now),
    )  # fmt: skip
    # TFLite files also without a delegate.
    assert [ran.outcome for ran in report.runs] == ["right"] * 6
    assert sum(ran.plain for ran in report.runs) == 2
    assert not report.failed
    assert not report.open
    # The very runtime that the export ran: nothing may differ.
    assert {ran.from_own for ran in report.runs if not ran.plain} == {0.0}
    assert told[-1][0] == told[-1][1] > 0


def test_all_awkward_texts_run_and_the_others_evenly(golden: Golden) -> None:
    rows = spread(golden, 16)
    assert set(golden.rows(AWKWARD)) <= set(rows)
    every = sorted(row for kind in NATURAL for row in golden.rows(kind).tolist())
    natural = sorted(set(rows) & set(every))
    assert len(natural) == 16
    assert len(set(rows) & set(golden.rows(BOUNDARY).tolist())) == 16
    assert (natural[0], natural[-1]) == (every[0], every[-1])
    assert spread(golden, 0) == tuple(range(len(golden.cases)))


@pytest.mark.parametrize("path", ["model.onnx", "model_int8.tflite"])
def test_a_truncated_file_is_refused(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], tmp_path: Path, path: str
) -> None:
    content = bundle.file(path).read_bytes()
    spoilt = with_bytes(bundle, tmp_path / "b", path, content[: len(content) // 2])
    (ran,) = _run(spoilt, path, golden, gates).runs
    assert ran.outcome == "refused"
    assert ran.why
    assert ran.cases == 0


def test_what_runs_and_is_outside_the_limits_is_garbage(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], tmp_path: Path
) -> None:
    """An int8 file in the float one's place: a small error, but above the float recipe's limits."""
    spoilt = with_bytes(
        bundle, tmp_path / "b", "model.onnx", bundle.file("model_int8.onnx").read_bytes()
    )
    report = _run(spoilt, "model.onnx", golden, gates)
    (ran,) = report.runs
    assert ran.outcome == "garbage"
    assert "the limit" in ran.why
    assert report.failed
    # And it is a release that the manifest calls good enough.
    assert "the manifest promises onnxruntime from" in report.contradictions[0]


def _planted(tmp_path: Path, lines: str) -> Path:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{lines}\n")
    script.chmod(0o755)
    return script


HELLO = '{"environment": {"runtime": "onnxruntime", "version": "1"}}'


@pytest.mark.parametrize(
    ("lines", "ending", "why"),
    [
        ("exec sleep 600", "silent", "gave no answer for 1 s"),
        (f"echo '{HELLO}'; read x; exec sleep 600", "silent", "gave no answer for 1 s"),
        ("kill -SEGV $$", "crashed", "SIGSEGV"),
        (f"echo '{HELLO}'; read x; kill -ABRT $$", "crashed", "SIGABRT"),
        ("echo 'no such library' >&2; exit 3", "crashed", "status 3: no such library"),
        ('echo \'{"error": "ValueError: op version"}\'', "refused", "op version"),
        (f"echo '{HELLO}'; read x; echo '{{\"error\": \"RuntimeError: y\"}}'", "refused", "y"),
        ('echo \'{"error": "ImportError: numpy"}\'', "broken", "numpy"),
    ],
)
def test_hangs_crashes_refusals_and_broken_environments_are_told_apart(
    bundle: Bundle, golden: Golden, tmp_path: Path, lines: str, ending: str, why: str
) -> None:
    python = _planted(tmp_path, lines)
    old = OldRuntime("onnxruntime", "1", "onnx", "onnxruntime", (), ())
    artifact = bundle.artifact("model.onnx")
    answer = ask(python, old, bundle, artifact, golden, (0, 1), patience=1.0)
    assert answer.ending == ending
    assert why in answer.why
    assert "\n" not in answer.why


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [("silent", "silent"), ("crashed", "crashed"), ("refused", "refused"), ("broken", "unjudged")],
)
def test_an_ending_is_an_outcome(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], ending: str, outcome: str
) -> None:
    artifact = bundle.artifact("model.onnx")
    nothing = np.empty((0, golden.reference.shape[1]), dtype=np.float32)
    answer = Answer(ending, "why", (), nothing, {})  # type: ignore[arg-type]
    old = OldRuntime("onnxruntime", "1", "onnx", "onnxruntime", (), ())
    ran = judged(bundle, golden, gates, artifact, old, answer, python="3.11")
    assert ran.outcome == outcome
    # Garbage before the refusal is still garbage, and right answers before it do not make it right.
    rows = spread(golden, 16)
    own = golden.artifacts[artifact.path][list(rows)]
    environment = {"runtime": "onnxruntime", "version": "1"}
    for logits, expected in ((own, outcome), (-own, "garbage"), (own * np.nan, "garbage")):
        partly = Answer(ending, "why", rows, logits, environment)  # type: ignore[arg-type]
        ran = judged(bundle, golden, gates, artifact, old, partly, python="3.11")
        assert ran.outcome == expected


def test_another_shape_is_garbage(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], tmp_path: Path
) -> None:
    lines = f"echo '{HELLO}'; while read x; do echo '{{\"logits\": [[0.0]]}}'; done"
    old = OldRuntime("onnxruntime", "1", "onnx", "onnxruntime", (), ())
    artifact = bundle.artifact("model.onnx")
    answer = ask(
        _planted(tmp_path, lines), old, bundle, artifact, golden, spread(golden, 16), patience=5.0
    )
    ran = judged(bundle, golden, gates, artifact, old, answer, python="3.11")
    assert ran.outcome == "garbage"


def test_no_limits_for_this_processor_is_no_pass(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec]
) -> None:
    report = _run(bundle, "model.onnx", golden, {k: GateSpec({}, {}) for k in gates})
    assert [ran.outcome for ran in report.runs] == ["unjudged"]
    assert report.open
    assert not report.failed


def test_a_runtime_without_a_python_is_skipped_with_a_line(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], tmp_path: Path
) -> None:
    none = OldRuntime("onnxruntime", "0.1", "onnx", "onnxruntime", ("3.0",), ("onnxruntime==0.1",))
    artifact = bundle.artifact("model.onnx")
    report = run_compat(bundle, [artifact], golden, gates, [none], FEW, folder=tmp_path)
    assert report.open
    assert "no Python 3.0 is found" in report.skipped["onnxruntime 0.1"]
    assert list(tmp_path.iterdir()) == []


def test_another_release_than_the_environments_name_stops(
    bundle: Bundle, golden: Golden, tmp_path: Path
) -> None:
    old = OldRuntime("onnxruntime", "1.2.3", "onnx", "onnxruntime", (), ("onnxruntime==1.2.3",))
    with pytest.raises(
        UserError, match=r"the environment of onnxruntime 1\.2\.3 has onnxruntime 1"
    ):
        ask(
            _planted(tmp_path, f"echo '{HELLO}'; read x"), old, bundle,
            bundle.artifact("model.onnx"), golden, (0,), patience=5.0,
        )  # fmt: skip


def test_only_formats_with_old_runtimes_are_taken(bundle: Bundle) -> None:
    assert [a.path for a in artifacts_of(bundle, "int8")] == [
        "model_int8.onnx",
        "model_int8.tflite",
    ]
    with pytest.raises(UserError, match="no onnx or tflite artifact is called 'coreml'"):
        artifacts_of(bundle, "coreml")


def _ran(version: str, outcome: str, *, package: str = "onnxruntime", plain: bool = False) -> Ran:
    claim = "tensorflow" if package == "tflite-runtime" else package
    old = OldRuntime(package, version, "onnx", claim, (), ())
    return Ran("model.onnx", old, "3.11", plain, outcome, "", 1, {}, None)  # type: ignore[arg-type]


def test_a_promise_is_broken_only_from_the_promised_release_on(bundle: Bundle) -> None:
    artifact = replace(bundle.artifact("model.onnx"), minimum_runtime={"onnxruntime": "1.17.0"})
    for version, outcome, broken in (
        ("1.16.3", "refused", False),
        ("1.16.3", "garbage", False),  # a failure by itself, but nobody was promised it
        ("1.17.0", "refused", True),
        ("1.18.0", "crashed", True),
        ("1.9.0", "refused", False),
        ("1.17.0", "right", False),
        ("1.17.0", "unjudged", False),
    ):
        assert bool(contradictions([artifact], [_ran(version, outcome)])) == broken, version
    other = [_ran("2.14.0", "refused", package="tflite-runtime")]
    assert contradictions([artifact], other) == ()
    on_tensorflow = replace(artifact, minimum_runtime={"tensorflow": "2.9.0"})
    assert "tflite-runtime 2.14.0 was refused" in contradictions([on_tensorflow], other)[0]


def test_the_lowest_release_is_the_one_after_the_last_that_was_wrong() -> None:
    assert lowest_right({"1.9": "right", "1.10": "right"}) == "1.9"
    assert lowest_right({"1.0.1": "right", "1.2.0": "garbage", "1.4.0": "right"}) == "1.4.0"
    assert lowest_right({"1.0": "unjudged", "1.1": "right", "1.2": "unjudged"}) == "1.1"
    assert lowest_right({"1.0": "right", "1.1": "crashed"}) is None
    assert lowest_right({}) is None


def test_of_two_ways_the_worse_counts() -> None:
    runs = [_ran("1.0", "right"), _ran("1.0", "garbage", plain=True), _ran("1.1", "right")]
    assert worst_of(runs) == {("model.onnx", "onnxruntime"): {"1.0": "garbage", "1.1": "right"}}
