from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.pooling import EmbeddingSettings, pooled, unit
from export.tokenizer_training import train_wordpiece
from export.training.embeddings import embed_sequences, encoder_sha256, sequences_of
from export.training.vector_cache import cache_file, cached_vectors, equally_long
from runtime.errors import UserError

from support import seeded_classifier

SEQUENCES = [[2, 5, 9, 3], [2, 7, 3], [2, 8, 8, 3], [2, 5, 9, 3], [2, 3], [2, *range(10, 40), 3]]


def test_mean_pooling_leaves_padding_out() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, -100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    plain = EmbeddingSettings(pooling="mean", normalize=False)
    assert pooled(hidden, mask, plain).tolist() == [[2.0, 3.0]]
    first = EmbeddingSettings(pooling="cls", normalize=False)
    assert pooled(hidden, mask, first).tolist() == [[1.0, 2.0]]
    assert pooled(hidden, mask, first, pooled_position=-1).tolist() == [[100.0, -100.0]]


def test_normalized_vectors_have_length_one_and_zeros_stay_finite() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(unit(vectors), torch.tensor([[0.6, 0.8], [0.0, 0.0]]), atol=1e-7)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_transformers_own_hidden_states(pooling: str) -> None:
    model = seeded_classifier(1).eval()
    settings = EmbeddingSettings(pooling=pooling, normalize=False)  # type: ignore[arg-type]
    vectors = embed_sequences(model, SEQUENCES, settings)
    assert vectors.shape == (6, 64)
    assert vectors.dtype == np.float32
    for ids, vector in zip(SEQUENCES, vectors, strict=True):
        with torch.inference_mode():
            hidden = model.distilbert(torch.tensor([ids])).last_hidden_state[0]
        wanted = hidden.mean(0) if pooling == "mean" else hidden[0]
        np.testing.assert_allclose(vector, wanted.numpy(), rtol=0, atol=2e-6)


def test_padded_batches_would_give_the_same_mean() -> None:
    model = seeded_classifier(2).eval()
    settings = EmbeddingSettings()
    alone = embed_sequences(model, SEQUENCES[:3], settings)
    ids = torch.tensor([[2, 5, 9, 3], [2, 7, 3, 0], [2, 8, 8, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    with torch.inference_mode():
        hidden = model.distilbert(ids, attention_mask=mask).last_hidden_state
    np.testing.assert_allclose(alone, pooled(hidden, mask, settings).numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


def test_half_a_surrogate_pair_and_nothing_at_all_are_texts() -> None:
    tokenizer = train_wordpiece(["the sky is blue", "rain again"], 100)
    ids, cut = sequences_of(tokenizer, ["", "sky \ud800", "sky \ufffd", "rain " * 50], 16)
    assert len(ids[0]) == 2
    assert ids[1] == ids[2]
    assert len(ids[3]) == 16
    assert cut == 1


def test_the_encoders_hash_sees_weights_and_settings_but_not_the_head() -> None:
    model = seeded_classifier(3)
    before = encoder_sha256(model)
    with torch.no_grad():
        model.classifier.weight.add_(1)
    model.config.id2label = {0: "yes", 1: "no", 2: "perhaps"}
    assert encoder_sha256(model) == before
    with torch.no_grad():
        model.distilbert.embeddings.LayerNorm.bias[0] += 1e-6
    assert encoder_sha256(model) != before
    assert encoder_sha256(seeded_classifier(3, n_heads=2)) != before


class _Counter:
    """Counts texts; breaks off after `most` batches."""

    def __init__(self, most: int = 10**9) -> None:
        self.texts = 0
        self.batches = 0
        self.most = most

    def __call__(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self.batches == self.most:
            raise KeyboardInterrupt
        self.batches += 1
        self.texts += len(ids)
        return np.stack([[row.sum(), row.size] for row in ids]).astype(np.float32)


def _expected(sequences: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    return np.array([[sum(ids), len(ids)] for ids in sequences], dtype=np.float32)


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "embeddings" / "a.npz"
    first, again = _Counter(), _Counter()
    np.testing.assert_array_equal(cached_vectors(path, SEQUENCES, first), _expected(SEQUENCES))
    np.testing.assert_array_equal(cached_vectors(path, SEQUENCES, again), _expected(SEQUENCES))
    assert first.texts == len(SEQUENCES)
    assert again.texts == 0


def test_an_interrupted_run_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    broken, rest = _Counter(most=2), _Counter()
    with pytest.raises(KeyboardInterrupt):
        cached_vectors(path, SEQUENCES, broken)
    np.testing.assert_array_equal(cached_vectors(path, SEQUENCES, rest), _expected(SEQUENCES))
    assert broken.texts > 0
    assert broken.texts + rest.texts == len(SEQUENCES)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "rows", "pickle", "dtype", "nan"])
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npz"
    cached_vectors(path, SEQUENCES, _Counter())
    content = bytearray(path.read_bytes())
    vectors, done = _expected(SEQUENCES), np.ones(len(SEQUENCES), dtype=np.bool_)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        with zipfile.ZipFile(path) as archive:
            offset = archive.getinfo("vectors.npy").header_offset + 200
        content[offset] ^= 0xFF
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "rows":
        np.savez(path, vectors=vectors[:-1], done=done[:-1])
    elif damage == "pickle":
        np.savez(path, vectors=np.array([{}] * len(SEQUENCES), dtype=object), done=done)
    elif damage == "dtype":
        np.savez(path, vectors=vectors.astype(np.float64), done=done)
    else:
        np.savez(path, vectors=np.full_like(vectors, np.nan), done=done)
    counter = _Counter()
    np.testing.assert_array_equal(cached_vectors(path, SEQUENCES, counter), _expected(SEQUENCES))
    assert counter.texts == len(SEQUENCES)
    assert "damaged" in capsys.readouterr().err


def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    def compute(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return np.full((len(ids), 2), np.nan, dtype=np.float32)

    with pytest.raises(UserError, match="not finite"):
        cached_vectors(tmp_path / "a.npz", SEQUENCES, compute)
    assert not (tmp_path / "a.npz").exists()


def test_batches_hold_one_length_each_and_every_row_once() -> None:
    rows = [0, 1, 2, 4, 5]
    batches = [batch.tolist() for batch in equally_long(SEQUENCES, rows)]
    assert sorted(row for batch in batches for row in batch) == rows
    assert batches[0] == [5]
    for batch in batches:
        assert len({len(SEQUENCES[row]) for row in batch}) == 1


def test_the_key_decides_on_the_file(tmp_path: Path) -> None:
    key = {"encoder": "a", "what": "mean"}
    assert cache_file(tmp_path, key) == cache_file(tmp_path, json.loads(json.dumps(key)))
    assert cache_file(tmp_path, key) != cache_file(tmp_path, key | {"what": "cls"})


def test_the_models_cache_follows_weights_and_texts(tmp_path: Path) -> None:
    settings = EmbeddingSettings()
    model = seeded_classifier(4)
    kept = embed_sequences(model, SEQUENCES, settings, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(kept, embed_sequences(model, SEQUENCES, settings, cache=tmp_path))
    embed_sequences(model, SEQUENCES[:-1], settings, cache=tmp_path)
    embed_sequences(seeded_classifier(5), SEQUENCES, settings, cache=tmp_path)
    embed_sequences(model, SEQUENCES, EmbeddingSettings("cls"), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
