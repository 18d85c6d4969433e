"""A run with workers that behave badly: each is reported, and the others go on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bench.contestants import Contestant
from runtime.bench.driver import run_threads
from runtime.bench.lineup import Lineup, Member, shared_rows
from runtime.bench.machine import bench_machine
from runtime.bench.measured import Measured
from runtime.bench.plan import BenchPlan
from runtime.bench.process import Worker, WorkerError
from runtime.bench.report import assemble
from runtime.bench.schedule import Cell
from runtime.bench.table import notes_of
from runtime.bundle import GOLDEN, Bundle
from runtime.golden import Golden, read_golden

CELLS = [Cell(1, 8), Cell(1, 16)]
PLAN = BenchPlan(lengths=(8, 16), threads=(1,), throughput=0, rounds=5, sittings=2, patience=30.0)

# A real backend in a real process; what it computes is right, and `misbehaves` is what is planted.
BACKEND = """
import os, time
import numpy as np

def load_library():
    pass

class Model:
    lengths = None
    environment = {"runtime": "planted", "version": "1"}

    def __init__(self, settings):
        self.settings, self.runs = settings, 0
        self.known = {tuple(k): v for k, v in settings["answers"]}
        if settings["misbehaves"] == "refuses":
            raise ValueError("the file is damaged")
        print("a library that prints")
        # Used for a moment only, as a converter of weights does: the peak must tell.
        np.ones(settings["ballast"], dtype=np.uint8).sum()

    def feed(self, input_ids, attention_mask):
        if self.settings["misbehaves"] == "short" and input_ids.shape[1] > 8:
            raise ValueError("longest is 8")
        return input_ids

    def run(self, fed):
        self.runs += 1
        how = self.settings["misbehaves"]
        if how == "dies" and self.runs > self.settings["after"]:
            os.abort()
        if how == "hangs" and self.runs > self.settings["after"]:
            time.sleep(1000)
        if how == "raises" and self.runs > self.settings["after"]:
            raise RuntimeError("out of memory")
        time.sleep(self.settings["seconds"])
        rows = [self.known.get(tuple(map(int, ids)), [0.5, 0.25, 0.0]) for ids in fed]
        found = np.array(rows, dtype=np.float32)
        if how == "nan":
            found[:] = np.nan
        if how == "drifts":
            found += self.runs * 0.125
        return found

def open_model(settings):
    return Model(settings)
"""


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Golden:
    whole = read_golden(bundle.file(GOLDEN))
    return Golden(cases=whole.cases[:40], reference=whole.reference[:40])


@pytest.fixture
def planted(tmp_path: Path, golden: Golden) -> Any:
    backend = tmp_path / "planted_backend.py"
    backend.write_text(BACKEND)
    answers = [
        [list(case.input_ids), [float(x) for x in row]]
        for case, row in zip(golden.cases, golden.reference, strict=True)
    ]

    def make(
        name: str,
        misbehaves: str = "",
        after: int = 60,
        seconds: float = 0.002,
        ballast: int = 1,
    ) -> Contestant:
        settings = {"answers": answers, "misbehaves": misbehaves, "after": after,
                    "seconds": seconds, "ballast": ballast}  # fmt: skip
        return Contestant(
            name=name, group="ours", format="onnx", precision="int8", bytes=1000, sha256="",
            python=Path(sys.executable), backend=backend, settings=settings,
        )  # fmt: skip

    return make


def _run(
    contestants: list[Contestant], golden: Golden, plan: BenchPlan = PLAN
) -> dict[str, Measured]:
    found = run_threads(contestants, [golden], plan, CELLS, 1, with_golden=True)
    assert [m.contestant for m in found] == contestants
    return {m.contestant.name: m for m in found}


def _whole(measured: Measured) -> bool:
    rounds = [len(taken) for taken in measured.rounds.values()]
    return not measured.failure and rounds == [5, 5]


@pytest.mark.parametrize(
    ("misbehaves", "after", "words"),
    [
        ("refuses", 0, "the file is damaged"),
        ("dies", 0, "SIGABRT"),
        ("dies", 60, "SIGABRT"),
        ("raises", 60, "out of memory"),
    ],
)
def test_a_worker_that_fails_is_reported_and_the_others_go_on(
    planted: Any, golden: Golden, misbehaves: str, after: int, words: str
) -> None:
    found = _run([planted("good"), planted("bad", misbehaves, after), planted("fine")], golden)
    assert words in found["bad"].failure
    assert "\n" not in found["bad"].failure
    assert _whole(found["good"])
    assert _whole(found["fine"])


def test_a_worker_that_falls_silent_is_ended(planted: Any, golden: Golden) -> None:
    plan = BenchPlan(lengths=(8, 16), threads=(1,), rounds=5, sittings=1, patience=3.0)
    found = _run([planted("good"), planted("bad", "hangs", 50)], golden, plan)
    assert "no answer for 3 s" in found["bad"].failure
    assert "--patience" in found["bad"].failure
    assert _whole(found["good"])


def test_nan_is_told_and_never_counts_as_agreement(
    planted: Any, golden: Golden, bundle: Bundle
) -> None:
    measured = _run([planted("good"), planted("bad", "nan")], golden)
    assert measured["bad"].non_finite
    assert not measured["good"].non_finite
    member = Member("here", bundle.manifest, golden, "no products here")
    lineup = Lineup((member,), shared_rows([golden]))
    report = assemble(
        lineup, PLAN, bench_machine(0.0), list(measured.values()), cells=CELLS, baseline="good",
        skipped={},
    )  # fmt: skip
    good, bad = report.rows
    assert good.figures["max_abs"] == 0.0
    assert good.figures["flips"] == 0.0
    assert np.isnan(bad.figures["max_rel"])
    assert bad.figures["flips"] == bad.figures["decisions"]
    assert any("NaN" in line for line in notes_of(report))
    assert any("no products here" in line for line in report.warnings)


def test_answers_that_change_from_run_to_run_are_told(planted: Any, golden: Golden) -> None:
    found = _run([planted("good"), planted("bad", "drifts")], golden)
    assert found["good"].drift == 0.0
    assert found["bad"].drift > 1.0


def test_a_size_that_is_refused_is_left_out_and_the_rest_is_timed(
    planted: Any, golden: Golden
) -> None:
    measured = run_threads(
        [planted("short", "short")], [golden], PLAN, CELLS, 1, with_golden=False
    )[0]
    assert not measured.failure
    assert list(measured.rounds) == [CELLS[0]]
    assert "longest is 8" in measured.left_out[CELLS[1]]


def test_times_are_what_a_run_took(planted: Any, golden: Golden) -> None:
    """A run that sleeps 30 ms takes at least that, and hardly any of the processor."""
    measured = _run([planted("slow", seconds=0.03)], golden)["slow"]
    for taken in measured.rounds.values():
        assert min(min(runs) for runs in taken) >= 30.0
    assert max(measured.processor[CELLS[0]]) < 15.0
    assert len(measured.load_ms) == PLAN.sittings


def test_bursts_are_asked_for_in_turn(
    planted: Any, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    real = Worker.ask

    def noted(self: Worker, request: Any, patience: float) -> dict[str, Any]:
        # One run is a look at a size before the rounds.
        if request["do"] == "burst" and request["runs"] > 1:
            asked.append((self._name, request["key"]))
        return real(self, request, patience)

    monkeypatch.setattr(Worker, "ask", noted)
    names = ("a", "b", "c")
    _run([planted(name) for name in names], golden)
    timed = asked[-5 * len(CELLS) * len(names) :]
    groups = [timed[i : i + len(names)] for i in range(0, len(timed), len(names))]
    for group in groups:
        assert {name for name, _ in group} == set(names)
        assert len({key for _, key in group}) == 1
    assert len({tuple(name for name, _ in group) for group in groups}) > 1


def test_memory_is_the_peak_of_opening_and_running(planted: Any, golden: Golden) -> None:
    found = _run([planted("small"), planted("large", ballast=200_000_000)], golden)
    grown = {name: m.peak_bytes - m.library_bytes for name, m in found.items()}
    assert grown["large"] > 190_000_000
    assert grown["small"] < 60_000_000


def test_an_interpreter_that_is_not_there_is_one_failure(planted: Any, golden: Golden) -> None:
    from dataclasses import replace

    gone = replace(planted("gone"), python=Path("/nowhere/python"))
    found = _run([planted("good"), gone], golden)
    assert "cannot be started" in found["gone"].failure
    assert _whole(found["good"])


def test_no_worker_is_left_running(tmp_path: Path) -> None:
    worker = Worker("sleeper", [sys.executable, "-c", "import time; time.sleep(1000)"])
    assert worker.alive
    worker.close()
    assert not worker.alive


def test_nonsense_instead_of_an_answer_is_an_error() -> None:
    with (
        Worker("liar", [sys.executable, "-c", "print('hello'); input()"]) as worker,
        pytest.raises(WorkerError, match="something else than JSON"),
    ):
        worker.hello(30.0)
