"""TFLite files as a worker of the bench runs them: ours, and one of a single signature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.bench.backends.litert_backend import LiteRtModel
from runtime.bundle import GOLDEN, Bundle
from runtime.golden import read_golden

NAME = "model_int8.tflite"


class Sums(torch.nn.Module):
    """Two sums that tell ids from mask."""

    def forward(self, token_ids: torch.Tensor, padding_mask: torch.Tensor) -> torch.Tensor:
        """float32 [1, 2] of int32 [1, length] each."""
        kept = (token_ids * padding_mask).to(torch.float32)
        return torch.stack([kept.sum(-1), padding_mask.to(torch.float32).sum(-1)], dim=-1)


@pytest.fixture(scope="module")
def kerashubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names that KerasHub gives."""
    litert_torch = pytest.importorskip("litert_torch")
    path = tmp_path_factory.mktemp("kerashub") / "model.tflite"
    converter = litert_torch.Converter()
    sample = {
        "token_ids": torch.zeros((1, 6), dtype=torch.int32),
        "padding_mask": torch.ones((1, 6), dtype=torch.int32),
    }
    converter.add_signature("serving_default", Sums().eval(), sample_kwargs=sample)
    converter.convert().export(str(path))
    return path


def test_one_signature_takes_its_input_as_it_is(kerashubs: Path) -> None:
    model = LiteRtModel(str(kerashubs), 1, 0, "right")
    assert model.lengths is None
    ids = np.array([[7, 30000, 9, 4, 5, 6]], dtype=np.int32)
    mask = np.array([[1, 1, 1, 0, 0, 0]], dtype=np.int32)
    np.testing.assert_array_equal(model.run(model.feed(ids, mask)), [[30016, 3]])


def test_ours_is_filled_up_to_the_shortest_length(bundle: Bundle) -> None:
    model = LiteRtModel(str(bundle.path / NAME), 1, bundle.manifest.tokenizer.pad_id, "right")
    assert model.lengths == list(bundle.artifact(NAME).lengths or ())
    golden = read_golden(bundle.path / GOLDEN)
    for row in (0, 5, len(golden.cases) - 1):
        ids = np.array([golden.cases[row].input_ids], dtype=np.int32)
        found = model.run(model.feed(ids, np.ones_like(ids)))
        np.testing.assert_array_equal(found[0], golden.artifacts[NAME][row])
    with pytest.raises(ValueError, match="lengths are"):
        model.feed(*[np.ones((1, model.lengths[-1] + 1), dtype=np.int32)] * 2)
