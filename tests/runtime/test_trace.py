"""The stored trace: sketches that keep distances, a file that is the same each time and is safe."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.errors import BundleError, UserError
from runtime.trace import (
    TRACE,
    WIDTH,
    ReferenceTrace,
    TraceCase,
    TracePoint,
    joined,
    read_trace,
    sketch,
    trace_of,
    without_masked,
    write_trace,
)


def _trace(seed: int = 0, artifact: str = "") -> ReferenceTrace:
    random = np.random.default_rng(seed)
    case = TraceCase(
        input_ids=np.array([[2, 7, 3, 0]], np.int32),
        attention_mask=np.array([[1, 1, 1, 0]], np.int32),
        logits=random.normal(size=3).astype(np.float32),
        sketches=random.normal(size=(2, WIDTH)).astype(np.float32).astype(np.float64),
        scales=np.ones(2),
        artifact=artifact,
    )
    points = (TracePoint("a", 0, (8,)), TracePoint("b", 1, (8,), ends_block=True, masked=True))
    return ReferenceTrace(1, points, (case,))


@pytest.mark.parametrize("size", [5, 64, 5000, 70000])
@pytest.mark.parametrize("change", ["one element", "everywhere"])
def test_sketches_keep_distances(size: int, change: str) -> None:
    random = np.random.default_rng(3)
    before = random.normal(size=size)
    after = before.copy()
    if change == "one element":
        after[size // 2] += 0.01
    else:
        after += 0.01 * random.normal(size=size)
    estimate = np.linalg.norm(sketch(before) - sketch(after))
    assert estimate == pytest.approx(np.linalg.norm(before - after), rel=0.6)


def test_a_sketch_depends_on_the_order() -> None:
    values = np.random.default_rng(1).normal(size=(6, 7))
    there_and_back = np.ascontiguousarray(values.T).T
    assert (sketch(values) == sketch(there_and_back)).all()
    difference = np.linalg.norm(sketch(values) - sketch(values.T))
    assert difference > 0.5 * np.linalg.norm(values)


def test_a_sketch_of_a_part_uses_the_same_hashes() -> None:
    """Else a sketch would depend on which sizes were sketched before."""
    values = np.arange(5000.0)
    first = sketch(values[:100])
    sketch(np.arange(100_000.0))
    assert (sketch(values[:100]) == first).all()


def test_masked_scores_do_not_outweigh_the_others() -> None:
    scores = np.array([1.0, -2.0, -1e4, -np.inf])
    assert without_masked(scores).tolist() == [1.0, -2.0, 0.0, 0.0]


def test_reads_what_was_written_and_the_bytes_repeat(tmp_path: Path) -> None:
    trace = joined(_trace(), _trace(1, "model.mlpackage"))
    write_trace(tmp_path / TRACE, trace)
    data = (tmp_path / TRACE).read_bytes()
    write_trace(tmp_path / TRACE, trace)
    assert (tmp_path / TRACE).read_bytes() == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {m.date_time for m in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    found = read_trace(tmp_path / TRACE)
    assert found.points == trace.points
    assert found.points[0].elements == (8, 8)
    assert [case.artifact for case in found.cases] == ["", "model.mlpackage"]
    for ours, theirs in zip(found.cases, trace.cases, strict=True):
        assert (ours.sketches == theirs.sketches).all()
        assert (ours.logits == theirs.logits).all()


def _rewritten(path: Path, **changes: object) -> None:
    with np.load(path) as arrays:
        values = dict(arrays)
    np.savez(path, **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"header": np.frombuffer(b"{}", np.uint8)},
        {"header": np.frombuffer(b"[" * 100_000, np.uint8)},
        {"sketches_0": np.zeros((3, WIDTH), np.float32)},
        {"sketches_0": np.full((2, WIDTH), np.nan, np.float32)},
        {"input_ids_0": np.zeros((1, 4), np.float32)},
        {"attention_mask_0": np.zeros((1, 5), np.int32)},
        {"scales_0": np.array([object(), object()])},
    ],
    ids=["no fields", "deep", "too many", "not finite", "floats", "other length", "pickled"],
)
def test_refuses_a_damaged_trace(tmp_path: Path, changes: dict[str, object]) -> None:
    write_trace(tmp_path / TRACE, _trace())
    _rewritten(tmp_path / TRACE, **changes)
    with pytest.raises(BundleError, match="not a reference trace"):
        read_trace(tmp_path / TRACE)


def test_refuses_what_unpacks(tmp_path: Path) -> None:
    path = tmp_path / TRACE
    np.savez_compressed(path, header=np.zeros(1 << 20, np.uint8))
    with pytest.raises(BundleError, match="packed"):
        read_trace(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip at all"])
def test_refuses_other_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / TRACE).write_bytes(data)
    with pytest.raises(BundleError, match="not a reference trace"):
        read_trace(tmp_path / TRACE)


def test_a_missing_trace_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        read_trace(tmp_path / TRACE)
    assert "export the bundle again" in str(caught.value)


def test_blocks_have_names() -> None:
    trace = replace(_trace(), blocks=2)
    names = [trace.block_name(i) for i in range(-2, 3)]
    assert names == ["attention mask", "embeddings", "block 0", "block 1", "head"]


def test_a_family_whose_steps_are_not_written_down_says_so(bundle: Bundle, tmp_path: Path) -> None:
    source = replace(bundle.manifest.source, family="xlnet")
    other = Bundle(tmp_path, replace(bundle.manifest, source=source))
    with pytest.raises(UserError, match="the inside of this model"):
        trace_of(other)
    with pytest.raises(BundleError, match="cannot be read"):
        trace_of(Bundle(tmp_path, bundle.manifest))
    assert trace_of(bundle).points
