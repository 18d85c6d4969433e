from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.golden import read_golden
from runtime.manifest import ArtifactSpec, TensorSpec
from runtime.sessions import open_session, session_modules
from runtime.sessions.base import (
    ClassifierSession,
    ExactSession,
    SeriesSession,
    SessionSettings,
    WeighingSession,
    pad_to,
)

NAME = "model.mlpackage"


@pytest.fixture(scope="module")
def spec(bundle: Bundle) -> ArtifactSpec:
    return bundle.artifact(NAME)


@pytest.fixture(scope="module")
def session(bundle: Bundle, spec: ArtifactSpec) -> Any:
    size = bundle.manifest.tokenizer.vocab_size
    return open_session(bundle.path / NAME, spec, SessionSettings(vocab_size=size))


def _batch(*sequences: tuple[int, ...]) -> tuple[Any, Any]:
    longest = max(map(len, sequences))
    ids = np.zeros((len(sequences), longest), dtype=np.int32)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask


def test_it_gives_what_the_bundle_promises(bundle: Bundle, session: Any) -> None:
    golden = read_golden(bundle.path / GOLDEN)
    for row in (0, 5, len(golden.cases) - 1):
        logits = session.run(*_batch(golden.cases[row].input_ids))
        assert logits.dtype == np.float32
        assert (logits[0] == golden.artifacts[NAME][row]).all()
        assert np.abs(logits[0] - golden.reference[row]).max() < 0.02


def test_batches_and_padding_change_nothing(session: Any) -> None:
    ids, mask = _batch((2, 9, 7, 3), (2, 11, 3))
    together = session.run(ids, mask)
    assert (session.run(*_batch((2, 11, 3)))[0] == together[1]).all()
    assert (session.run(pad_to(ids, 40, 0), pad_to(mask, 40, 0)) == together).all()


def test_a_series_gives_what_each_gives_alone(bundle: Bundle, session: Any) -> None:
    golden = read_golden(bundle.path / GOLDEN)
    pairs = [_batch(case.input_ids) for case in golden.cases[:12]]
    pairs.insert(5, _batch((2, 9, 7, 3), (2, 11, 3)))
    together = list(session.run_series(pairs))
    assert len(together) == len(pairs)
    for pair, found in zip(pairs, together, strict=True):
        np.testing.assert_array_equal(found, session.run(*pair), strict=True)
    exact = list(session.run_series(pairs, exact=True))
    for pair, found in zip(pairs, exact, strict=True):
        np.testing.assert_allclose(found, session.run_exact(*pair), atol=1e-5)
    assert not np.array_equal(exact[0], together[0])
    assert list(session.run_series([])) == []
    with pytest.raises(UserError, match="not int32"):
        list(session.run_series([pairs[0], (pairs[0][0].astype(np.int64), pairs[0][1])]))


def test_exact_is_closer_and_costs_no_weights(session: Any, bundle: Bundle) -> None:
    golden = read_golden(bundle.path / GOLDEN)
    effective = golden.effective[NAME]
    rows = list(effective.rows)[:20]
    exact = np.concatenate([session.run_exact(*_batch(golden.cases[r].input_ids)) for r in rows])
    usual = np.concatenate([session.run(*_batch(golden.cases[r].input_ids)) for r in rows])
    far = np.abs(usual - effective.logits[:20]).max()
    assert np.abs(exact - effective.logits[:20]).max() < 1e-5 < far


def test_what_the_protocols_offer(session: Any, spec: ArtifactSpec) -> None:
    assert isinstance(session, ExactSession)
    assert isinstance(session, ClassifierSession)
    assert isinstance(session, WeighingSession)
    assert isinstance(session, SeriesSession)
    assert session.classify(*_batch((2, 3))) is None
    digests = session.weight_digests()
    promised = {w.name: w.sha256 for w in spec.weights.stored}
    assert promised == {name: digests[name] for name in promised}
    facts = session.environment
    assert facts["machine"] == platform.machine()
    assert facts["threads"] == "1"
    assert "not run on Apple hardware" in facts["leaves_open"]


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (np.zeros((1, 65), np.int32), np.ones((1, 65), np.int32), "the artifact's longest is 64"),
        (np.zeros((1, 3), np.int64), np.ones((1, 3), np.int32), "not int32"),
        (np.zeros((1, 0), np.int32), np.ones((1, 0), np.int32), r"not \[batch, length\]"),
        (np.full((1, 3), -1, np.int32), np.ones((1, 3), np.int32), "ids run from -1"),
        (np.full((1, 3), 40_000, np.int32), np.ones((1, 3), np.int32), "ids run from 40000"),
        (np.zeros((1, 3), np.int32), np.full((1, 3), 2, np.int32), "other than 0 and 1"),
    ],
)
def test_bad_batches_are_refused(session: Any, ids: Any, mask: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        session.run(ids, mask)


@pytest.mark.parametrize("wrong", [-1, 40_000, 65_536 + 5])
def test_ids_are_refused_without_the_vocabularys_size_too(
    bundle: Bundle, spec: ArtifactSpec, wrong: int
) -> None:
    """iOS 17 casts ids to 16 bits; the executor asks the table itself."""
    session = open_session(bundle.path / NAME, spec, SessionSettings())
    with pytest.raises(UserError, match=str(wrong)):
        session.run(*_batch((2, wrong, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": (32, 64)}, "has other lengths than its manifest says"),
        ({"inputs": ()}, "has other inputs than its manifest says"),
        ({"outputs": (TensorSpec("logits", "float32", (1, 4)),)}, "has other outputs"),
    ],
)
def test_another_signature_is_refused(
    bundle: Bundle, spec: ArtifactSpec, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_session(bundle.path / NAME, replace(spec, **change), SessionSettings())


def test_damaged_packages_are_one_line(bundle: Bundle, spec: ArtifactSpec, tmp_path: Path) -> None:
    path = Path(shutil.copytree(bundle.path / NAME, tmp_path / NAME))
    program = path / "Data/com.apple.CoreML/model.mlmodel"
    whole = program.read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"\xff" * 100, whole + b"\x01"):
        program.write_bytes(data)
        with pytest.raises(UserError) as caught:
            open_session(path, spec, SessionSettings())
        assert "\n" not in str(caught.value)
    shutil.rmtree(path)
    with pytest.raises(UserError, match=NAME):
        open_session(path, spec, SessionSettings())


def test_backends(bundle: Bundle, spec: ArtifactSpec) -> None:
    path = bundle.path / NAME
    with pytest.raises(UserError, match=r"no backend .cuda.\. choose auto, apple or reference"):
        open_session(path, spec, SessionSettings(backend="cuda"))
    if platform.system() != "Darwin":
        with pytest.raises(UserError, match="on macOS only"):
            open_session(path, spec, SessionSettings(backend="apple"))
    by_name = open_session(path, spec, SessionSettings(backend="reference"))
    assert "reference executor" in by_name.environment["runtime"]
    assert session_modules()["coreml"].available() is None
