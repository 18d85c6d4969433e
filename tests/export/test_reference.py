from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from export.checkpoint import find_checkpoint, load_classifier
from export.reference import LogitsOnly, reference_from_model, reference_logits


@pytest.fixture
def model(checkpoint_folder: Path):  # type: ignore[no-untyped-def]
    return load_classifier(find_checkpoint(str(checkpoint_folder))).eval()


def test_it_is_transformers_own_answer(model) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 90, (6, 20), generator=generator, dtype=torch.int32)
    mask = torch.ones_like(ids)
    for row, length in enumerate((20, 1, 2, 9, 19, 13)):
        mask[row, length:] = 0
    with torch.inference_mode():
        ours = LogitsOnly(model)(ids, mask)
        theirs = model(input_ids=ids.long(), attention_mask=mask.long()).logits
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_padding_does_not_matter(model) -> None:  # type: ignore[no-untyped-def]
    reference = reference_from_model(model)
    alone = reference_logits(reference, [[2, 9, 3]])
    ids = torch.tensor([[2, 9, 3, 0, 0, 0]], dtype=torch.int32)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]], dtype=torch.int32)
    with torch.inference_mode():
        padded = reference.module(ids, mask).numpy()
    np.testing.assert_allclose(padded, alone, atol=2e-6)


def test_facts_and_progress(model) -> None:  # type: ignore[no-untyped-def]
    reference = reference_from_model(model)
    assert (reference.labels, reference.max_positions) == (3, 64)
    seen: list[tuple[int, int]] = []
    logits = reference_logits(
        reference, [[2, 3], [2, 5, 3]], progress=lambda *step: seen.append(step)
    )
    assert logits.shape == (2, 3)
    assert logits.dtype == np.float32
    assert seen == [(1, 2), (2, 2)]
    assert not any(p.requires_grad for p in reference.module.parameters())


def test_the_number_of_cores_moves_no_bit(  # type: ignore[no-untyped-def]
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, random = reference_from_model(model), np.random.default_rng(1)
    sequences = [random.integers(5, 90, length).tolist() for length in range(1, 24)]
    before, found = torch.get_num_threads(), []
    for cores in (1, 2, 3):
        monkeypatch.setattr("runtime.side_by_side.usable_cores", lambda cores=cores: cores)
        seen: list[tuple[int, int]] = []
        found.append(
            reference_logits(reference, sequences, progress=lambda *step, to=seen: to.append(step))
        )
        assert seen == [(done, 23) for done in range(1, 24)]
        assert torch.get_num_threads() == before
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_texts_of_equal_length_run_together(  # type: ignore[no-untyped-def]
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, random = reference_from_model(model), np.random.default_rng(1)
    lengths = [3, 60, 3, 7, *(9,) * 40, 7, 1]
    sequences = [random.integers(5, 90, length).tolist() for length in lengths]
    alone = reference_logits(reference, sequences)
    shapes, seen = [], []
    forward = LogitsOnly.forward

    def look(self: LogitsOnly, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(ids.shape))
        return forward(self, ids, mask)

    monkeypatch.setattr(LogitsOnly, "forward", look)
    together = reference_logits(
        reference, sequences, together=True, progress=lambda *step: seen.append(step)
    )
    assert sorted(shapes) == [(1, 1), (1, 60), (2, 3), (2, 7), (12, 9), (28, 9)]
    assert sorted(seen)[-1] == (len(lengths), len(lengths))
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=2e-6)
    # Nothing is swapped: no two texts have answers as near as that.
    apart = np.abs(alone[:, None] - alone[None]).max(-1) + np.eye(len(lengths))
    assert apart.min() > 1e-4
