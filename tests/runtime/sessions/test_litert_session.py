"""The LiteRT session, on files that the TFLite target makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from litert_support import tflite_spec

from export.recipes import Recipe, WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.targets import tflite
from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, TensorSpec, WeightsSummary
from runtime.sessions import Session, SessionSettings, litert_session, open_session, session_modules

from support import seeded_classifier

LENGTHS = (8, 16, 32)
LABELS = 3
VOCAB = 200


def spec_of(path: Path) -> ArtifactSpec:
    return dataclasses.replace(tflite_spec(path), weights=WeightsSummary({}, ()))


@pytest.fixture(scope="module")
def reference() -> Reference:
    model = seeded_classifier(11, num_labels=LABELS, vocab_size=VOCAB, max_position_embeddings=32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.ndim == 2 else parameter.add_(0.1)
    return reference_from_model(model)


@pytest.fixture(scope="module")
def files(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("litert")
    float32, int8 = folder / "model.tflite", folder / "model_int8.tflite"
    tflite.convert(reference, LENGTHS, float32)
    linear, embedding = (WeightsRule("int8", each, "minmax") for each in ("channel", "row"))
    recipe = Recipe("tflite", "r", 1, "int8", "x", "", linear, embedding, {}, {})
    tflite.quantize(float32, recipe, int8)
    return float32, int8


@pytest.fixture(scope="module", params=["float32", "int8"])
def session(request: pytest.FixtureRequest, files: tuple[Path, Path]) -> Session:
    path = files[request.param == "int8"]
    return open_session(path, spec_of(path), SessionSettings(vocab_size=VOCAB))


@pytest.fixture(scope="module")
def exact(files: tuple[Path, Path]) -> litert_session.LiteRtSession:
    return litert_session.open_session(files[0], spec_of(files[0]), SessionSettings())


def batch(counts: list[int], length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = (np.arange(length)[None] < np.array(counts)[:, None]).astype(np.int32)
    ids = random.integers(1, VOCAB, mask.shape, dtype=np.int32) * mask
    return ids, mask


COUNTS = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32]


def test_the_session_is_found_by_its_format() -> None:
    assert session_modules()["tflite"].available() is None


def test_logits_are_pytorchs_around_every_length(
    exact: litert_session.LiteRtSession, reference: Reference
) -> None:
    ids, mask = batch(COUNTS, 32)
    rows = [list(row[:count]) for row, count in zip(ids, COUNTS, strict=True)]
    expected = reference_logits(reference, rows)
    logits = exact.run(ids, mask)
    assert (logits.shape, logits.dtype) == ((len(COUNTS), LABELS), np.float32)
    assert np.ptp(expected, axis=0).min() > 0.5
    np.testing.assert_allclose(logits, expected, atol=5e-5)


def test_int8_gives_the_same_labels(files: tuple[Path, Path], reference: Reference) -> None:
    session = open_session(files[1], spec_of(files[1]), SessionSettings())
    ids, mask = batch([12] * 24, 12)
    expected = reference_logits(reference, [list(row) for row in ids])
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.2 * np.ptp(expected)
    assert clear.sum() > 8
    found = session.run(ids, mask).argmax(axis=1)
    np.testing.assert_array_equal(found[clear], expected.argmax(axis=1)[clear])


def test_a_row_does_not_depend_on_its_neighbours(session: Session) -> None:
    ids, mask = batch(COUNTS, 32)
    together = session.run(ids, mask)
    alone = [session.run(ids[i : i + 1, :n], mask[i : i + 1, :n]) for i, n in enumerate(COUNTS)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    order = np.random.default_rng(1).permutation(len(COUNTS))
    np.testing.assert_array_equal(session.run(ids[order], mask[order]), together[order])


def test_padding_of_any_width_and_content_changes_no_bit(session: Session) -> None:
    ids, mask = batch([5, 6], 6)
    expected = session.run(ids, mask)
    for width in (8, 20, 32, 50):  # 50: longer than the file, but only padding is
        more = ((0, 0), (0, width - 6))
        filled = np.where(np.pad(mask, more) == 1, np.pad(ids, more), 33).astype(np.int32)
        np.testing.assert_array_equal(session.run(filled, np.pad(mask, more)), expected)


def test_every_length_gives_the_same_logits(exact: litert_session.LiteRtSession) -> None:
    ids, mask = batch([3, 8], 8)
    short = exact.run_at(8, ids, mask)
    np.testing.assert_array_equal(short, exact.run(ids, mask))
    for length in (16, 32):
        np.testing.assert_allclose(exact.run_at(length, ids, mask), short, atol=5e-5)
    with pytest.raises(UserError, match="not 12"):
        exact.run_at(12, ids, mask)
    with pytest.raises(UserError, match="longest is 8"):
        exact.run_at(8, *batch([9], 9))


def test_tokens_after_a_gap_in_the_mask_count(
    exact: litert_session.LiteRtSession, reference: Reference
) -> None:
    ids, mask = batch([6], 6)
    mask[0, 2] = 0
    with torch.inference_mode():
        expected = reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(exact.run(ids, mask), expected, atol=5e-5)


def test_runs_repeat_bit_for_bit(session: Session) -> None:
    ids, mask = batch([4, 20, 9], 20)
    np.testing.assert_array_equal(session.run(ids, mask), session.run(ids, mask))


@pytest.mark.parametrize("bad", [VOCAB, -1, 2**31 - 1])
def test_ids_outside_the_vocabulary_are_refused(files: tuple[Path, Path], bad: int) -> None:
    for path in files:
        for vocab_size in (VOCAB, None):  # known, or left to the runtime's own check
            session = open_session(path, spec_of(path), SessionSettings(vocab_size=vocab_size))
            ids, mask = batch([5, 5], 5)
            good = session.run(ids, mask)
            broken = ids.copy()
            broken[1, 2] = bad
            with pytest.raises(UserError, match="vocabulary"):
                session.run(broken, mask)
            np.testing.assert_array_equal(session.run(ids, mask), good)  # still usable


@pytest.mark.parametrize(
    ("ids", "mask", "word"),
    [
        (np.ones(4, np.int32), np.ones(4, np.int32), "shape"),
        (np.ones((0, 4), np.int32), np.ones((0, 4), np.int32), "shape"),
        (np.ones((1, 4), np.int32), np.ones((1, 5), np.int32), "shape"),
        (np.ones((1, 4), np.int64), np.ones((1, 4), np.int64), "int32"),
        (np.ones((1, 4), np.float32), np.ones((1, 4), np.int32), "int32"),
        (np.ones((1, 4), np.int32), np.full((1, 4), 2, np.int32), "0 and 1"),
        (np.ones((1, 33), np.int32), np.ones((1, 33), np.int32), "longest is 32"),
        (np.ones((2, 4), np.int32), np.array([[1, 1, 0, 0], [0] * 4], np.int32), "row 1"),
    ],
)
def test_wrong_batches_are_refused(
    session: Session, ids: np.ndarray, mask: np.ndarray, word: str
) -> None:
    with pytest.raises(UserError, match=word):
        session.run(ids, mask)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lengths": (8, 16)}, "signatures"),
        ({"lengths": (8, 16, 64)}, "signatures"),
        ({"lengths": None}, "lengths"),
        ({"outputs": (TensorSpec("scores", "float32", (1, LABELS)),)}, "outputs"),
        ({"outputs": (TensorSpec("logits", "float32", (1, LABELS + 1)),)}, "outputs"),
        ({"outputs": (TensorSpec("logits", "int8", (1, LABELS)),)}, "outputs"),
        ({"inputs": (TensorSpec("input_ids", "int32", (1, "length")),)}, "inputs"),
        (
            {
                "inputs": tuple(
                    TensorSpec(n, "int64", (1, "length")) for n in ("input_ids", "attention_mask")
                )
            },
            "inputs",
        ),
    ],
)
def test_a_file_that_is_not_the_manifests_is_refused(
    files: tuple[Path, Path], change: dict[str, object], word: str
) -> None:
    spec = dataclasses.replace(spec_of(files[0]), **change)
    with pytest.raises(UserError, match=word):
        open_session(files[0], spec, SessionSettings())


def test_damaged_and_missing_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    spec = spec_of(files[0])
    whole = files[0].read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("text", b"no"), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match="refuses"):
            open_session(path, spec, SessionSettings())
    with pytest.raises(UserError, match="missing"):
        open_session(tmp_path / "nothing", spec, SessionSettings())


def test_an_operator_version_from_the_future_names_the_runtime_to_use(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    from export.targets.tflite._flatbuffer import load
    from export.targets.tflite._packing import packed

    model = load(files[1])
    for code in model.operatorCodes:
        code.version += 90
    path = tmp_path / "future.tflite"
    path.write_bytes(packed(model))
    with pytest.raises(
        UserError, match=r"too new for ai-edge-litert .*at least ai-edge-litert 1\."
    ):
        open_session(path, spec_of(files[1]), SessionSettings())


def test_the_environment_says_what_ran(session: Session) -> None:
    environment = session.environment
    assert environment["runtime"] == "ai-edge-litert"
    assert environment["version"].split(".")[0].isdigit()
    assert environment["threads"] == "1"
    assert environment["delegate"] == "XNNPACK"
    assert environment["machine"]


def test_threads_are_at_least_one(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="threads"):
        open_session(files[0], spec_of(files[0]), SessionSettings(threads=0))
    two = open_session(files[0], spec_of(files[0]), SessionSettings(threads=2))
    assert two.environment["threads"] == "2"


def test_without_a_runtime_the_install_command_is_named(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_session, "_RUNTIMES", {"nowhere": "package_that_does_not_exist.x"})
    assert "mobile-export[tflite]" in (litert_session.available() or "")
    with pytest.raises(MissingExtraError, match=r"mobile-export\[tflite\]"):
        open_session(files[0], spec_of(files[0]), SessionSettings())
