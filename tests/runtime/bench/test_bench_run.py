"""A real run over the small bundle: every figure is there, and none of them is a guess.

How fast anything is, is never asserted here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from runtime.bench.contestants import contestants_of
from runtime.bench.document import BENCH_SCHEMA, bench_document
from runtime.bench.duels import Duel
from runtime.bench.html import bench_page
from runtime.bench.lineup import lineup_of
from runtime.bench.machine import BenchMachine, bench_machine
from runtime.bench.plan import BenchPlan
from runtime.bench.report import BenchReport
from runtime.bench.run import run_bench
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio
from runtime.bench.table import duel_lines, notes_of
from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.golden import read_golden
from runtime.parity.run import run_artifact, session_settings

from support import ROOT

PLAN = BenchPlan(lengths=(16, 32, 64, 128), threads=(1, 2), throughput=4, rounds=5, sittings=1)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads((files("runtime.bench") / "bench.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> BenchReport:
    return run_bench(
        lineup_of([bundle]), contestants_of(bundle), PLAN, skipped={"a-peer": "no network"}
    )


@pytest.fixture(scope="module")
def document(report: BenchReport) -> dict[str, Any]:
    return bench_document(report)


def test_the_document_is_as_documented(
    document: dict[str, Any], validator: Draft202012Validator
) -> None:
    validator.validate(document)
    assert document["schema_version"] == BENCH_SCHEMA
    json.dumps(document, allow_nan=False)


def test_every_documented_field_is_needed(
    document: dict[str, Any], validator: Draft202012Validator
) -> None:
    for name in document:
        assert not validator.is_valid({k: v for k, v in document.items() if k != name}), name
    for name in document["rows"][0]:
        broken = deepcopy(document)
        del broken["rows"][0][name]
        assert not validator.is_valid(broken), name
    for name in document["rows"][0]["cells"][0]:
        broken = deepcopy(document)
        del broken["rows"][0]["cells"][0][name]
        assert not validator.is_valid(broken), name


def test_every_onnx_and_tflite_file_ran_at_both_numbers_of_threads(
    document: dict[str, Any], bundle: Bundle
) -> None:
    names = {a.path for a in bundle.manifest.artifacts if a.format in ("onnx", "tflite")}
    for threads in (1, 2):
        rows = [r for r in document["rows"] if r["threads"] == threads]
        assert {r["name"] for r in rows} == names | {"model.onnx (again)"}
        for row in rows:
            assert row["failure"] == ""
            assert row["load_ms"] > 0
            assert 0 < row["model_bytes"] < row["peak_bytes"]
            assert all(cell["runs"] >= 5 for cell in row["cells"])


def test_lengths_that_a_file_does_not_have_are_left_out_with_the_reason(
    document: dict[str, Any],
) -> None:
    """The fixture's files end at 64 ids: TFLite has signatures, and ONNX a table of positions."""
    for row in document["rows"]:
        timed = {(c["batch"], c["length"]) for c in row["cells"]}
        left = {(c["batch"], c["length"]): c["why"] for c in row["left_out"]}
        assert timed | set(left) == {(1, 16), (1, 32), (1, 64), (1, 128), (4, 64)}
        assert (1, 128) in left
        assert left[1, 128]


def test_figures_of_parity_are_those_of_the_gate(document: dict[str, Any], bundle: Bundle) -> None:
    golden = read_golden(bundle.file(GOLDEN))
    settings = session_settings(bundle)
    for row in document["rows"]:
        if row["threads"] != 1 or row["group"] != "ours":
            continue
        artifact = bundle.artifact(row["name"])
        evidence = run_artifact(bundle, artifact, golden, settings, again=2, split=False)
        worst = float(abs(evidence.logits - golden.reference).max())
        assert row["figures"]["max_abs"] == pytest.approx(worst, rel=1e-3, abs=1e-6)
        assert row["figures"]["decisions"] == sum(
            case.set in ("validation", "unlabelled") for case in golden.cases
        )


def test_the_limit_was_measured_and_nobody_is_beyond_it_by_far(document: dict[str, Any]) -> None:
    for threads in ("1", "2"):
        for kind in ("float32", "int8"):
            assert document["peaks"][threads][kind]["flops"] > 1e8
    for row in document["rows"]:
        for cell in row["cells"]:
            # A fraction is a ratio of two noisy times; a wrong unit would be a thousand off.
            assert 0 < cell["fraction_of_limit"] < 10
            assert cell["whole_bound_ms"] > cell["bound_ms"]


def test_the_baseline_beside_itself_gives_the_noise(report: BenchReport) -> None:
    assert report.baseline == "model.onnx"
    for threads in (1, 2):
        assert 0 <= report.noise[threads] < math.inf
        again = next(
            r for r in report.rows if r.threads == threads and r.contestant.group == "again"
        )
        worst = max(
            max(abs(c.ratio.low - 1), abs(c.ratio.high - 1))
            for c in again.cells.values()
            if c.ratio
        )
        assert report.noise[threads] == worst
    assert not any(r.contestant.group == "again" for r in report.at(1))


def test_a_comparison_names_every_length_and_its_own_threads_only(report: BenchReport) -> None:
    def duel(length: int, value: float, threads: int = 1, batch: int = 1) -> Duel:
        ratio = Ratio(value, value - 0.01, value + 0.01, 5)
        return Duel("a.onnx", "peer", threads, Cell(batch, length), ratio, None, 0.0, 2.0)

    duels = (duel(32, 0.76), duel(128, 0.77), duel(128, 0.5, batch=16), duel(128, 0.9, threads=2))
    told = duel_lines(replace(report, duels=duels, headline=Cell(1, 128)))
    assert told == [
        "1 thread: a.onnx takes 0.77 of peer's time (95%: 0.76 to 0.78) at 128 ids;"
        " flips 0 against 2; 0.76 at 32",
        "2 threads: a.onnx takes 0.90 of peer's time (95%: 0.89 to 0.91) at 128 ids;"
        " flips 0 against 2",
    ]


def test_what_was_skipped_is_told(report: BenchReport) -> None:
    assert "no a-peer: no network" in notes_of(report)


def test_the_page_is_whole_and_shows_everybody(report: BenchReport) -> None:
    page = bench_page(report)
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    text = "".join(tree.itertext())
    for row in report.at(1):
        assert row.contestant.name in text
    # By flips and by the metric, at both numbers of threads and at the lengths that anyone has.
    assert text.count("Size over latency") == 2 * 2 * 3
    assert text.count("Not here:") == 0
    assert page.count('type="radio"') == 2 * 3
    assert page.count('checked="checked"') == 1
    assert "no a-peer: no network" in text
    assert page == bench_page(report)


def test_a_busy_machine_is_told(bundle: Bundle) -> None:
    def busy() -> BenchMachine:
        from dataclasses import replace

        return replace(bench_machine(0.0), busy_share=0.4)

    plan = BenchPlan(lengths=(16,), threads=(1,), throughput=0, rounds=5, sittings=1)
    found = run_bench(
        lineup_of([bundle]), contestants_of(bundle, "model_int8.onnx"), plan, look=busy
    )
    assert any("others used 40%" in warning for warning in found.warnings)
    assert found.baseline == "model_int8.onnx"


def test_a_process_that_computes_is_seen_as_busy() -> None:
    """A quarter of the cores, which is well above what counts as busy."""
    count = max(1, (os.cpu_count() or 1) // 4)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        assert bench_machine(0.5).is_busy
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def test_an_unknown_baseline_is_refused_before_anything_runs(bundle: Bundle) -> None:
    with pytest.raises(UserError, match="nothing timed is called 'optimum'"):
        run_bench(lineup_of([bundle]), contestants_of(bundle), PLAN, baseline="optimum")


def test_artifacts_are_chosen_by_name_format_or_precision(bundle: Bundle) -> None:
    assert [c.name for c in contestants_of(bundle, "tflite")] == [
        "model.tflite", "model_int8.tflite",
    ]  # fmt: skip
    assert {c.precision for c in contestants_of(bundle, "int8")} == {"int8"}
    with pytest.raises(UserError, match="no artifact is called 'gguf'"):
        contestants_of(bundle, "gguf")


def _command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", "bench", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_prints_a_table_and_writes_what_was_asked_for(
    bundle_folder: Path, tmp_path: Path, validator: Draft202012Validator
) -> None:
    written, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = _command(
        bundle_folder, "--artifact", "model_int8.onnx", "--lengths", "16", "--threads", "1",
        "--throughput", "0", "--rounds", "5", "--json", written, "--html", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("model_int8.onnx", "limit: products", "noise:", "onnxruntime"):
        assert words in done.stdout
    assert "--checkpoint" in done.stderr
    validator.validate(json.loads(written.read_bytes()))
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lengths", "a,b"), "not whole numbers"),
        (("--lengths", "1"), "at least 2"),
        (("--threads", "0"), "at least 1"),
        (("--rounds", "2"), "at least 5"),
        (("--artifact", "gguf"), "no artifact is called"),
        (("--peers", "optimum"), "needs the checkpoint"),
        (("--checkpoint", "."), "is not a checkpoint"),
        (("--json", "/nowhere/bench.json"), "cannot be written"),
    ],
)
def test_mistakes_end_in_one_line(
    bundle_folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = _command(bundle_folder, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
