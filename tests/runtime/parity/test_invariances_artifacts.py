"""The artifacts that we export are invariant, and a fault planted in one is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_support import coreml_job, padded_batch

from export.families import MASKED_SCORE
from export.targets import coreml
from export.targets.tflite._flatbuffer import has_data, load, values_of
from export.targets.tflite._packing import packed
from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.golden import Golden, GoldenCase, read_golden
from runtime.manifest import ArtifactSpec, WeightsSummary
from runtime.parity.invariances import INVARIANCES, choose_cases, measure_invariances
from runtime.sessions import Session, open_session
from runtime.sessions.base import BucketSession, SessionSettings

ARTIFACTS = (
    "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite", "model.mlpackage",
)  # fmt: skip


def _measure(
    folder: Path, spec: ArtifactSpec, cases: list[GoldenCase], longest: int, used: SessionSettings
) -> dict[str, float]:
    def opened(wanted: SessionSettings) -> Session:
        return open_session(folder / spec.path, spec, wanted)

    first = opened(used)
    arrays = [
        (np.array([c.input_ids], dtype=np.int32), np.array([c.attention_mask], dtype=np.int32))
        for c in cases
    ]
    alone = np.concatenate([first.run(*pair) for pair in arrays])
    return measure_invariances(opened, first, cases, alone, spec, used, longest)


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.path / GOLDEN)


def _of_bundle(folder: Path, bundle: Bundle, golden: Golden, name: str) -> dict[str, float]:
    spec, tokenizer = bundle.artifact(name), bundle.manifest.tokenizer
    rows = choose_cases(golden, range(len(golden.cases)), lengths=spec.lengths or ())
    settings = SessionSettings(pad_id=tokenizer.pad_id, vocab_size=tokenizer.vocab_size)
    cases = [golden.cases[row] for row in rows]
    return _measure(folder, spec, cases, tokenizer.max_length, settings)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_real_artifacts_are_invariant(bundle: Bundle, golden: Golden, name: str) -> None:
    found = _of_bundle(bundle.path, bundle, golden, name)
    lengths = bundle.artifact(name).lengths
    expected = set(INVARIANCES) - (set() if lengths and len(lengths) > 1 else {"bucket"})
    assert set(found) == expected
    assert found["order"] == found["repeat"] == found["cold"] == found["threads"] == 0.0
    # Dynamic quantization shares one scale among all rows and places of a batch.
    shared = name == "model_int8.onnx"
    scale = float(np.sqrt(np.square(golden.reference).mean()))
    assert max(found.values()) < (0.1 if shared else 1e-5) * scale


@pytest.mark.parametrize("name", ["model.tflite", "model_int8.tflite"])
def test_a_mask_dropped_at_one_length_is_seen(
    bundle: Bundle, golden: Golden, tmp_path: Path, name: str
) -> None:
    """Every text that runs alone takes a shorter one, or fills it, so nothing else shows it."""
    model = load(bundle.file(name))
    longest = max(model.subgraphs, key=lambda graph: graph.tensors[graph.inputs[0]].shape[-1])
    masks = [
        tensor
        for tensor in longest.tensors
        if has_data(model, tensor)
        and values_of(model, tensor).reshape(-1).tolist() == [MASKED_SCORE]
    ]
    assert masks
    own = type(model.buffers[0])()
    own.data = np.zeros(1, dtype=np.float32).view(np.uint8)
    model.buffers.append(own)
    for tensor in masks:
        tensor.buffer = len(model.buffers) - 1
    (tmp_path / name).write_bytes(bytes(packed(model)))

    found = _of_bundle(tmp_path, bundle, golden, name)
    assert found["bucket"] > 1e-3
    assert max(change for name, change in found.items() if name != "bucket") == 0.0


@pytest.fixture(scope="module")
def three_lengths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArtifactSpec]:
    """A Core ML package of the lengths 8, 16 and 32."""
    folder = tmp_path_factory.mktemp("coreml")
    job = coreml_job(shapes="enumerated", deployment_target="iOS18", scratch=folder)
    coreml.make(job, folder / "model.mlpackage")
    found = coreml.describe(folder / "model.mlpackage")
    spec = ArtifactSpec(
        path="model.mlpackage",
        format="coreml",
        recipe="float16",
        precision="float16",
        bytes=0,
        sha256="",
        inputs=found.inputs,
        outputs=found.outputs,
        lengths=found.lengths,
        minimum_runtime={},
        weights=WeightsSummary({}, ()),
        gate="unknown",
    )
    return folder, spec


def test_a_core_ml_package_runs_at_a_chosen_length(three_lengths: tuple[Path, Any]) -> None:
    folder, spec = three_lengths
    session: Any = open_session(folder / spec.path, spec, SessionSettings())
    assert isinstance(session, BucketSession)
    ids, mask = padded_batch(5, rows=2)
    wide = np.pad(ids, ((0, 0), (0, 27))), np.pad(mask, ((0, 0), (0, 27)))
    assert (session.run_at(32, ids, mask) == session.run(*wide)).all()
    assert (session.run_at(8, ids, mask) == session.run(ids, mask)).all()
    with pytest.raises(UserError, match="not 12"):
        session.run_at(12, ids, mask)
    with pytest.raises(UserError, match="32 ids, more than 16"):
        session.run_at(16, *wide)


def test_core_ml_lengths_are_compared(three_lengths: tuple[Path, Any]) -> None:
    folder, spec = three_lengths
    rng = np.random.default_rng(3)
    texts = [tuple(rng.integers(1, 200, n).tolist()) for n in (2, 7, 8, 9, 16, 20, 32)]
    cases = [
        GoldenCase(f"validation/{i}", "validation", "", ids, (1,) * len(ids), None)
        for i, ids in enumerate(texts)
    ]
    found = _measure(folder, spec, cases, 32, SessionSettings())
    assert set(found) == set(INVARIANCES)
    assert found["bucket"] < 0.05
    assert found["order"] == found["repeat"] == found["cold"] == found["threads"] == 0.0
