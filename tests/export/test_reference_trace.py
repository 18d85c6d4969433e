"""The written-out steps are the reference, and the bundle carries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export import reference_trace
from export.reference import reference_from_model
from export.reference_trace import trace_reference
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.golden import VALIDATION, Golden, GoldenCase
from runtime.trace import TRACE, read_trace, sketch

from support import seeded_classifier


def _golden() -> Golden:
    texts = [(2, 9, 8, 7, 3), (2, 50, 3)]
    cases = tuple(
        GoldenCase(f"validation/{i}", VALIDATION, "", ids, (1,) * len(ids), (0,))
        for i, ids in enumerate(texts)
    )
    return Golden(cases, np.zeros((2, 3), np.float32))


def test_every_case_is_padded_and_gives_the_reference_s_logits() -> None:
    reference = reference_from_model(seeded_classifier(1))
    trace = trace_reference(reference, _golden(), (8, 16), pad_id=0)
    assert trace is not None
    assert [case.length for case in trace.cases] == [8, 16]
    assert trace.blocks == 2
    for case in trace.cases:
        assert case.attention_mask.sum() == 3 * case.length // 4
        assert (case.input_ids[case.attention_mask == 0] == 0).all()
        with torch.inference_mode():
            logits = reference.module(
                torch.from_numpy(case.input_ids), torch.from_numpy(case.attention_mask)
            )
        assert (case.logits == logits[0].numpy()).all()


def test_points_are_what_the_modules_give() -> None:
    """Against PyTorch's own hooks, which the written-out steps do not use."""
    model = seeded_classifier(2)
    reference = reference_from_model(model)
    trace = trace_reference(reference, _golden(), (16,), pad_id=0)
    assert trace is not None
    seen: dict[str, np.ndarray] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm | torch.nn.Embedding):
            module.register_forward_hook(
                lambda _m, _i, out, name=name: seen.update({name: out.detach().numpy()})
            )
    case = trace.cases[0]
    with torch.inference_mode():
        reference.module(torch.from_numpy(case.input_ids), torch.from_numpy(case.attention_mask))
    assert len(seen) == 2 + 1 + 2 * 8 + 2
    places = {point.name: i for i, point in enumerate(trace.points)}
    for name, value in seen.items():
        wanted = sketch(value)
        found = case.sketches[places[name]]
        assert np.linalg.norm(found - wanted) <= 1e-5 * np.linalg.norm(wanted), name


def test_a_model_that_is_not_known_has_no_trace() -> None:
    model = seeded_classifier(1)
    model.config.activation = "relu"
    assert trace_reference(reference_from_model(model), _golden(), (8,), pad_id=0) is None


def test_steps_that_are_not_the_reference_s_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_trace, "MASKED_SCORE", 0.0)
    with pytest.raises(UserError, match="cannot be traced"):
        trace_reference(reference_from_model(seeded_classifier(1)), _golden(), (8,), pad_id=0)


def test_the_bundle_has_a_small_trace(bundle: Bundle) -> None:
    path = bundle.file(TRACE)
    assert TRACE in {entry.path for entry in bundle.manifest.files}
    trace = read_trace(path)
    own = [case.artifact for case in trace.cases]
    assert own.count("") == 2
    # Not of an artifact that stores the reference's own weights, bit for bit.
    assert set(own) == {"", *(a.path for a in bundle.manifest.artifacts)} - {"model.onnx"}
    assert path.stat().st_size < 600_000


def test_the_same_reference_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    from runtime.trace import write_trace

    reference = reference_from_model(seeded_classifier(3))
    files = []
    for name in ("a", "b"):
        trace = trace_reference(reference, _golden(), (8, 16), pad_id=0)
        assert trace is not None
        write_trace(tmp_path / name, replace(trace))
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
