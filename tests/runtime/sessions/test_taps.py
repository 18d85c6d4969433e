"""Looking into a run must not change it, and must show every operation."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.sessions import open_session
from runtime.sessions.base import SessionSettings, TappingSession
from runtime.trace import TRACE, read_trace

FILES = (
    "model.onnx",
    "model_int8.onnx",
    "model.tflite",
    "model_int8.tflite",
    "model.mlpackage",
    "model_int8.mlpackage",
)


def _open(bundle: Bundle, file: str) -> TappingSession:
    spec = bundle.artifact(file)
    session = open_session(
        bundle.file(file), spec, SessionSettings(vocab_size=bundle.manifest.tokenizer.vocab_size)
    )
    assert isinstance(session, TappingSession)
    return session


@pytest.mark.parametrize("file", FILES)
def test_logits_are_those_of_a_run_without_taps(bundle: Bundle, file: str) -> None:
    session = _open(bundle, file)
    case = read_trace(bundle.file(TRACE)).cases[1]
    tapped = session.tap(case.input_ids, case.attention_mask)
    plain = session.run(case.input_ids, case.attention_mask)
    # onnxruntime does not fuse what is looked at: the last bits may move, for floats alone.
    np.testing.assert_allclose(tapped.logits, plain, rtol=0, atol=1e-5 if "onnx" in file else 0)


@pytest.mark.parametrize("file", FILES)
def test_operations_are_in_order_and_all_there(bundle: Bundle, file: str) -> None:
    session = _open(bundle, file)
    case = read_trace(bundle.file(TRACE)).cases[1]
    tapped = session.tap(case.input_ids, case.attention_mask)
    known = {"input_ids", "attention_mask"}
    for tap in tapped.operations:
        computed = [name for name in tap.inputs if name not in tap.parameters]
        assert set(computed) <= known, tap.name
        known |= set(tap.outputs)
    assert tapped.output in known
    kinds = [tap.kind.lower() for tap in tapped.operations]
    assert sum("softmax" in kind for kind in kinds) == 2
    largest = max(max(tap.parameters.values(), default=0) for tap in tapped.operations)
    assert largest == bundle.manifest.tokenizer.vocab_size * 64 or largest >= 64 * 128


def test_each_length_of_a_tflite_file_can_be_looked_into(bundle: Bundle) -> None:
    session = _open(bundle, "model.tflite")
    for case in read_trace(bundle.file(TRACE)).cases[:2]:
        tapped = session.tap(case.input_ids, case.attention_mask)
        first = next(iter(tapped.operations[-2].outputs.values()))
        assert first.ndim == 2
        widths = {v.shape[1] for t in tapped.operations for v in t.outputs.values() if v.ndim == 3}
        assert case.length in widths
    ids = np.ones((1, 40), np.int32)
    with pytest.raises(UserError, match="lengths"):
        session.tap(ids, ids)


def test_quantized_activations_are_the_numbers_they_stand_for(bundle: Bundle) -> None:
    session = _open(bundle, "model_int8.onnx")
    case = read_trace(bundle.file(TRACE)).cases[0]
    tapped = session.tap(case.input_ids, case.attention_mask)
    values = {name: v for tap in tapped.operations for name, v in tap.outputs.items()}
    quantized = [tap for tap in tapped.operations if tap.kind == "DynamicQuantizeLinear"]
    assert quantized
    for tap in quantized:
        before, after = values[tap.inputs[0]], next(iter(tap.outputs.values()))
        step = (before.max() - before.min()) / 255
        assert np.abs(before - after).max() <= step
