from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.golden import Golden, GoldenCase
from runtime.manifest import ArtifactSpec, TensorSpec, WeightsSummary
from runtime.parity.invariances import INVARIANCES, choose_cases, measure_invariances
from runtime.sessions import Session, open_session
from runtime.sessions.base import Ids, Logits, SessionSettings

MAX_LENGTH = 24


# --- a tiny ONNX classifier, and faults in it ---

Nodes = list[onnx.NodeProto]


def _node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def sound() -> Nodes:
    """Masked mean of embeddings, then a linear layer."""
    return [
        *_sum(),
        _node("ReduceSum", "mask axis1", "tokens", keepdims=1),
        _node("Div", "total tokens", "mean"),
        _node("MatMul", "mean linear", "logits"),
    ]


def _sum() -> Nodes:
    return [
        _node("Cast", "attention_mask", "mask", to=TensorProto.FLOAT),
        _node("Gather", "table input_ids", "rows"),
        _node("Unsqueeze", "mask axis2", "wide"),
        _node("Mul", "rows wide", "kept"),
        _node("ReduceSum", "kept axis1", "total", keepdims=0),
    ]


def counts_padding() -> Nodes:
    """Divides by the padded length instead of the tokens."""
    return [
        *_sum(),
        _node("ReduceMean", "kept axis1", "mean", keepdims=0),
        _node("MatMul", "mean linear", "logits"),
    ]


def sees_its_neighbours() -> Nodes:
    """Takes a thousandth of the batch's mean away, as a norm over the wrong axis would."""
    return [
        *sound()[:-1],
        _node("ReduceMean", "mean axis0", "others", keepdims=1),
        _node("Mul", "others little", "share"),
        _node("Sub", "mean share", "x"),
        _node("MatMul", "x linear", "logits"),
    ]


def forgot_to_leave_training() -> Nodes:
    """Noise in every run."""
    return [
        *sound()[:-1],
        _node("RandomNormalLike", "mean", "noise", scale=1e-3),
        _node("Add", "mean noise", "x"),
        _node("MatMul", "x linear", "logits"),
    ]


def divides_by_zero() -> Nodes:
    """0 / 0 as soon as there is padding."""
    return [
        *sound()[:-1],
        _node("ReduceMin", "mask axis1", "full", keepdims=1),
        _node("Div", "full full", "one"),
        _node("Mul", "mean one", "x"),
        _node("MatMul", "x linear", "logits"),
    ]


def _write(path: Path, nodes: Nodes) -> ArtifactSpec:
    rng = np.random.default_rng(7)
    constants = {
        "table": rng.normal(size=(50, 8)).astype(np.float32),
        "linear": rng.normal(size=(8, 3)).astype(np.float32),
        "little": np.array(1e-3, dtype=np.float32),
        "axis0": np.array([0]),
        "axis1": np.array([1]),
        "axis2": np.array([2]),
    }
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(
        nodes, "tiny", ids, [logits], [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return ArtifactSpec(
        path=path.name,
        format="onnx",
        recipe="float32",
        precision="float32",
        bytes=path.stat().st_size,
        sha256="",
        inputs=tuple(
            TensorSpec(name, "int32", ("batch", "length"))
            for name in ("input_ids", "attention_mask")
        ),
        outputs=(TensorSpec("logits", "float32", ("batch", 3)),),
        lengths=None,
        minimum_runtime={},
        weights=WeightsSummary(0, 0, ()),
        gate="unknown",
    )


def _case(name: str, ids: tuple[int, ...]) -> GoldenCase:
    return GoldenCase(name, "validation", name, ids, (1,) * len(ids), None)


def _cases(lengths: list[int]) -> list[GoldenCase]:
    rng = np.random.default_rng(3)
    return [
        _case(f"validation/{i}", tuple(rng.integers(1, 50, length).tolist()))
        for i, length in enumerate(lengths)
    ]


def _alone(session: Session, cases: list[GoldenCase]) -> Logits:
    arrays = [
        (np.array([c.input_ids], dtype=np.int32), np.array([c.attention_mask], dtype=np.int32))
        for c in cases
    ]
    return np.concatenate([session.run(*pair) for pair in arrays])


def _measure(
    folder: Path,
    spec: ArtifactSpec,
    cases: list[GoldenCase],
    longest: int,
    settings: SessionSettings | None = None,
    change: Callable[[Session], Session] = lambda session: session,
) -> dict[str, float]:
    used = settings or SessionSettings()

    def opened(wanted: SessionSettings) -> Session:
        return change(open_session(folder / spec.path, spec, wanted))

    first = opened(used)
    alone = _alone(first, cases)
    return measure_invariances(opened, first, cases, alone, spec, used, longest)


TINY_LENGTHS = [1, 2, 3, 5, 5, 8, 13, MAX_LENGTH]


def test_a_sound_graph_changes_nothing(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    found = _measure(tmp_path, spec, _cases(TINY_LENGTHS), MAX_LENGTH)
    assert set(found) == set(INVARIANCES) - {"bucket"}
    assert max(found.values()) < 1e-6
    assert found["repeat"] == found["order"] == found["cold"] == 0.0


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (counts_padding, {"padding", "batch"}),
        (sees_its_neighbours, {"batch"}),
        (forgot_to_leave_training, {"padding", "batch", "threads", "order", "repeat", "cold"}),
    ],
)
def test_a_fault_in_the_graph_is_seen(
    tmp_path: Path, fault: Callable[[], Nodes], seen: set[str]
) -> None:
    spec = _write(tmp_path / "m.onnx", fault())
    found = _measure(tmp_path, spec, _cases(TINY_LENGTHS), MAX_LENGTH)
    assert {name for name, change in found.items() if not change < 1e-5} == seen


def test_what_is_not_a_number_is_not_lost(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", divides_by_zero())
    found = _measure(tmp_path, spec, _cases(TINY_LENGTHS), MAX_LENGTH)
    assert {name for name, change in found.items() if np.isnan(change)} == {"padding", "batch"}
    assert found["order"] == 0.0


def test_no_case_measures_nothing(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    session = open_session(tmp_path / "m.onnx", spec, SessionSettings())
    nothing = np.empty((0, 3), dtype=np.float32)
    args = (session, [], nothing, spec, SessionSettings(), MAX_LENGTH)
    assert measure_invariances(lambda _: session, *args) == {}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_cases_are_enough(tmp_path: Path, count: int) -> None:
    """The last batch reaches back, so a case more than a batch is still seen among others."""
    spec = _write(tmp_path / "m.onnx", sees_its_neighbours())
    found = _measure(tmp_path, spec, _cases([4] * count), MAX_LENGTH)
    assert (found["batch"] > 1e-5) == (count > 1)


# --- faults of a session: what it keeps from one run to the next ---


class _Changed:
    """A real session whose answers a test moves."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.runs = 0
        self.last = np.zeros(3, dtype=np.float32)

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        return self.session.run(input_ids, attention_mask)

    @property
    def environment(self) -> dict[str, str]:
        return self.session.environment


class _KeepsState(_Changed):
    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        logits = self.session.run(input_ids, attention_mask)
        moved = logits + np.float32(1e-3) * self.last
        self.last = logits[-1]
        return moved


class _StartsWrongly(_Changed):
    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        self.runs += 1
        return super().run(input_ids, attention_mask) + np.float32(1e-3 * (self.runs == 1))


class _SplitsWrongly(_Changed):
    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        logits = self.session.run(input_ids, attention_mask)
        return logits + np.float32(1e-3 * (self.environment["threads"] != "1"))


class _TakesNoThreads(_Changed):
    @property
    def environment(self) -> dict[str, str]:
        return self.session.environment | {"threads": "1"}


def test_state_between_runs_is_seen(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    cases = _cases(TINY_LENGTHS)
    found = _measure(tmp_path, spec, cases, MAX_LENGTH, change=_KeepsState)
    assert found["order"] > 1e-4
    assert found["repeat"] > 1e-4


def test_a_wrong_first_answer_is_seen(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    warm = open_session(tmp_path / "m.onnx", spec, SessionSettings())
    cases = _cases(TINY_LENGTHS)
    alone = _alone(warm, cases)

    def opened(wanted: SessionSettings) -> Session:
        return _StartsWrongly(open_session(tmp_path / "m.onnx", spec, wanted))

    args = (opened, warm, cases, alone, spec, SessionSettings(), MAX_LENGTH)
    found = measure_invariances(*args)
    assert found["cold"] == pytest.approx(1e-3, rel=1e-3)
    assert found["order"] == 0.0


def test_another_answer_with_more_threads_is_seen(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    for threads in (1, 2):
        settings = SessionSettings(threads=threads)
        found = _measure(tmp_path, spec, _cases(TINY_LENGTHS), MAX_LENGTH, settings, _SplitsWrongly)
        assert found["threads"] == pytest.approx(1e-3, rel=1e-3)
        assert found["order"] == 0.0


class _AnswersTheFirstOnly(_Changed):
    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        return self.session.run(input_ids[:1], attention_mask[:1])


def test_an_answer_too_few_is_seen(tmp_path: Path) -> None:
    """Subtracted without care it would be compared with every case of the batch."""
    spec = _write(tmp_path / "m.onnx", sound())
    cases = [_case(f"validation/{i}", (5, 6, 7)) for i in range(6)]
    found = _measure(tmp_path, spec, cases, MAX_LENGTH, change=_AnswersTheFirstOnly)
    assert np.isnan(found["batch"])
    assert found["order"] == 0.0


def test_a_runtime_without_threads_is_not_measured_with_two(tmp_path: Path) -> None:
    spec = _write(tmp_path / "m.onnx", sound())
    found = _measure(tmp_path, spec, _cases([3, 4]), MAX_LENGTH, change=_TakesNoThreads)
    assert "threads" not in found


# --- which cases ---


def _golden(lengths: list[int]) -> Golden:
    cases = tuple(_cases(lengths))
    return Golden(cases, np.zeros((len(cases), 3), dtype=np.float32))


def test_chosen_cases_cover_all_lengths() -> None:
    lengths = [*np.random.default_rng(0).integers(10, 40, 600).tolist(), 2, 3, 60, 64, 65, 128]
    golden = _golden(lengths)
    rows = choose_cases(golden, range(len(lengths)), lengths=(32, 64, 128))
    assert len(rows) == len(set(rows)) == 16
    assert list(rows) == sorted(rows)
    found = [lengths[row] for row in rows]
    assert {2, 32, 64, 128} <= set(found)
    assert sum(10 <= length < 40 for length in found) >= 6
    assert rows == choose_cases(golden, range(len(lengths)), lengths=(32, 64, 128))


def test_chosen_cases_are_among_those_that_ran() -> None:
    lengths = list(range(1, 65)) * 3
    ran = list(range(5, 190, 4))
    rows = choose_cases(_golden(lengths), ran, lengths=(16, 64))
    assert set(rows) <= set(ran)
    assert max(lengths[row] for row in rows) == max(lengths[row] for row in ran)


def test_all_of_few_cases_are_chosen() -> None:
    assert choose_cases(_golden([5, 4, 3]), [2, 0], 16) == (0, 2)
    assert choose_cases(_golden([5, 4, 3]), [], 16) == ()


def test_equal_lengths_do_no_harm() -> None:
    assert len(choose_cases(_golden([7] * 50), range(50), 16, lengths=(8, 16))) == 16


def test_it_is_light_enough_for_an_emulator() -> None:
    heavy = ["scipy", "rich", "typer", "tokenizers", "onnx", "torch"]
    program = (
        "import sys, runtime.parity.invariances\n"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
