"""The Core AI session, on assets that the target makes; needs the extra coreai."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from export.recipes import recipes
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import coreai
from export.targets.base import ArtifactMetadata, Job, Source
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, TaskSpec, TensorSpec, WeightsSummary
from runtime.sessions import Session, SessionSettings, coreai_session, open_session
from runtime.sessions.base import ExactSession

from support import ROOT, seeded_classifier

pytest.importorskip("coreai_torch", reason="needs pip install 'mobile-export[coreai-export]'")

VOCAB = 200
POSITIONS = 64
LABELS = 3
SPEC = ArtifactSpec(
    path="model.aimodel",
    format="coreai",
    recipe="float32",
    precision="float32",
    bytes=1,
    sha256="",
    inputs=(
        TensorSpec("input_ids", "int32", ("batch", "length")),
        TensorSpec("attention_mask", "int32", ("batch", "length")),
    ),
    outputs=(TensorSpec("logits", "float32", ("batch", LABELS)),),
    lengths=None,
    minimum_runtime={"coreai-core": "1.0.0b3"},
    weights=WeightsSummary({}, ()),
    gate="pass",
)


@pytest.fixture(scope="module")
def reference() -> Reference:
    model = seeded_classifier(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.ndim == 2 else parameter.add_(0.1)
    return reference_from_model(model)


@pytest.fixture(scope="module")
def asset(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coreai_session")
    task = TaskSpec("single_label", "softmax", ("a", "b", "c"))
    metadata = ArtifactMetadata("n", "d", "a", "l", "1", "0" * 64)
    source = Source(reference, (POSITIONS,), task, 0, metadata)
    coreai.make(Job(source, recipes("coreai")["float32"], {}, folder), folder / "model.aimodel")
    return folder / "model.aimodel"


@pytest.fixture(scope="module")
def session(asset: Path) -> Session:
    return open_session(asset, SPEC, SessionSettings(vocab_size=VOCAB))


def batch(counts: list[int], length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = (np.arange(length)[None] < np.array(counts)[:, None]).astype(np.int32)
    ids = random.integers(1, VOCAB, mask.shape, dtype=np.int32) * mask
    return ids, mask


COUNTS = [1, 2, 7, 31, 63, 64]


def test_logits_are_pytorchs_at_every_length(session: Session, reference: Reference) -> None:
    for count in COUNTS:
        ids, mask = batch([count] * 2, count, seed=count)
        expected = reference_logits(reference, [list(row) for row in ids])
        logits = session.run(ids, mask)
        assert (logits.shape, logits.dtype) == ((2, LABELS), np.float32)
        np.testing.assert_allclose(logits, expected, atol=5e-5)


def test_padding_and_neighbours_do_not_move_the_logits(
    session: Session, reference: Reference
) -> None:
    ids, mask = batch(COUNTS, POSITIONS)
    rows = [list(row[:count]) for row, count in zip(ids, COUNTS, strict=True)]
    expected = reference_logits(reference, rows)
    assert np.ptp(expected, axis=0).min() > 0.5  # inputs matter, or the comparison would not
    np.testing.assert_allclose(session.run(ids, mask), expected, atol=5e-5)
    filled = np.where(mask == 1, ids, 33).astype(np.int32)  # whatever is masked is not seen
    np.testing.assert_allclose(session.run(filled, mask), expected, atol=5e-5)


def test_a_run_repeats_to_the_bit_and_its_result_stays(session: Session) -> None:
    first = session.run(*batch([9], 9))
    kept = first.copy()
    session.run(*batch([12], 12, seed=4))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.run(*batch([9], 9)), kept)


def test_an_exact_run_is_the_run(session: Session) -> None:
    assert isinstance(session, ExactSession)
    np.testing.assert_array_equal(session.run_exact(*batch([9], 9)), session.run(*batch([9], 9)))


def test_arrays_that_are_not_contiguous_are_read_rightly(session: Session) -> None:
    ids, mask = batch([9, 8], 9)
    wide = np.repeat(ids, 2, axis=1)[:, ::2], np.asfortranarray(mask)
    np.testing.assert_array_equal(session.run(*wide), session.run(ids, mask))


def test_it_runs_inside_a_running_event_loop(session: Session) -> None:
    async def notebook() -> np.ndarray:
        return session.run(*batch([9], 9))

    np.testing.assert_array_equal(asyncio.run(notebook()), session.run(*batch([9], 9)))


@pytest.mark.parametrize("bad", [VOCAB, 40_000, 2**31 - 1, -1])
def test_ids_outside_the_vocabulary_are_refused_with_and_without_its_size(
    asset: Path, bad: int
) -> None:
    ids, mask = batch([9], 9)
    ids[0, 4] = bad
    for size in (VOCAB, None):
        found = open_session(asset, SPEC, SessionSettings(vocab_size=size))
        with pytest.raises(UserError, match=r"ids run from|ids start at 0|cannot run ids up to"):
            found.run(ids, mask)
        assert np.isfinite(found.run(*batch([9], 9))).all()  # still usable


def test_wrong_batches_are_refused(session: Session) -> None:
    ids, mask = batch([9], 9)
    for bad_ids, bad_mask, reason in (
        (ids.astype(np.int64), mask.astype(np.int64), "not int32"),
        (ids[0], mask[0], "not \\[batch, length\\]"),
        (ids, mask[:, :-1], "attention_mask has the shape"),
        (ids, mask * 2, "other than 0 and 1"),
        (*batch([POSITIONS + 1], POSITIONS + 1), "cannot run"),
    ):
        with pytest.raises(UserError, match=reason):
            session.run(bad_ids, bad_mask)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": (SPEC.inputs[0],)}, "inputs other than"),
        ({"inputs": (SPEC.inputs[0], TensorSpec("attention_mask", "int64", ("batch", "length")))},
         "other inputs"),
        ({"inputs": (SPEC.inputs[0], TensorSpec("attention_mask", "int32", (1, 16)))},
         "other inputs"),
        ({"outputs": (TensorSpec("logits", "float32", ("batch", 4)),)}, "other outputs"),
        ({"outputs": (TensorSpec("scores", "float32", ("batch", 3)),)}, "other outputs"),
        ({"outputs": SPEC.outputs * 2}, "2 outputs"),
    ],
)  # fmt: skip
def test_a_signature_other_than_the_manifests_is_refused(
    asset: Path, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        open_session(asset, dataclasses.replace(SPEC, **change), SessionSettings())  # type: ignore[arg-type]


def test_threads_below_one_are_refused(asset: Path) -> None:
    with pytest.raises(UserError, match="at least 1"):
        open_session(asset, SPEC, SessionSettings(threads=0))


def test_the_environment_says_what_ran(session: Session) -> None:
    found = session.environment
    assert found["runtime"] == "coreai-core"
    assert found["version"] == importlib.metadata.version("coreai-core")
    assert found["threads"] == "1"


def test_a_closed_session_leaves_no_folder_behind(
    asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = coreai_session.open_session(asset, SPEC, SessionSettings())
    assert list(tmp_path.iterdir())
    opened.run(*batch([9], 9))
    del opened
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_program_that_ran_it_ends_quietly(asset: Path, tmp_path: Path) -> None:
    """The runtime's threads would end the process with 134, and it prints at every load."""
    script = (
        "import importlib.util, sys, pathlib\n"
        "import numpy as np\n"
        "from runtime.manifest import *\n"
        "from runtime.sessions import SessionSettings, open_session\n"
        "i, o = (('input_ids', 'attention_mask'), ('logits',))\n"
        "spec = ArtifactSpec('m', 'coreai', 'f', 'f', 1, '',\n"
        "    tuple(TensorSpec(n, 'int32', ('batch', 'length')) for n in i),\n"
        "    tuple(TensorSpec(n, 'float32', ('batch', 3)) for n in o),\n"
        "    None, {}, WeightsSummary({}, ()), 'pass')\n"
        "s = open_session(pathlib.Path(sys.argv[1]), spec, SessionSettings())\n"
        "s.run(np.ones((1, 4), np.int32), np.ones((1, 4), np.int32))\n"
        "raise SystemExit(3)\n"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script, str(asset)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": "", "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert not list(tmp_path.iterdir())
