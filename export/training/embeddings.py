"""Sentence vectors: what an encoder makes of a text, pooled to one vector."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.families import family_of_model
from export.pooling import EmbeddingSettings, pooled
from export.training.vector_cache import Progress, Vectors, cache_file, cached_vectors
from runtime.files import canonical_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

_SURROGATE = re.compile("[\ud800-\udfff]")
# Settings that say what a head is called and where a model came from, not what it computes.
_NAMES = {"id2label", "label2id", "problem_type", "architectures", "_name_or_path"}
_NAMES |= {"transformers_version", "dtype"}


def sequences_of(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> tuple[list[list[int]], int]:
    """Ids of every text, cut at `max_length` and not padded, and how many texts were cut.

    Half surrogate pairs, which UTF-8 cannot carry, become U+FFFD, as the bundle's tokenizer has it.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_length)
    encodings = tokenizer.encode_batch([_SURROGATE.sub("\ufffd", text) for text in texts])
    return [e.ids for e in encodings], sum(bool(e.overflowing) for e in encodings)


def embed_sequences(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    settings: EmbeddingSettings,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """Sentence vectors of token sequences.

    Args:
        model: a transformers classifier of a known family, in float32, whose head plays no part;
            left in eval mode.
        sequences: ids with special tokens, from `sequences_of`.
        settings: pooling and normalisation.
        cache: folder where vectors are kept; None keeps nothing.
        progress: called with (done, total).

    Returns:
        float32 [sequences, dim].

    Raises:
        UserError: a vector is not finite, or the model belongs to no known family.
    """
    family = family_of_model(model)

    def vectors_of(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = family.hidden(model, input_ids, mask)
        return pooled(hidden, mask, settings, pooled_position=family.pooled_position)

    what = f"{settings.pooling}{'+l2' if settings.normalize else ''}"
    return vectors_once(model, vectors_of, sequences, what, cache=cache, progress=progress)


def vectors_once(
    model: PreTrainedModel,
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    sequences: Sequence[Sequence[int]],
    what: str,
    *,
    cache: Path | None,
    progress: Progress | None = None,
) -> Vectors:
    """Whatever a frozen encoder makes of sequences, computed once per sequence.

    Args:
        model: whose encoder `function` runs; it is put into eval mode.
        function: input_ids and attention_mask, int64 [batch, length] on the model's device →
            float32 [batch, dim]. It must not read the head.
        sequences: ids with special tokens.
        what: name of the function; part of the cache's key, as are the encoder's weights and
            settings and all ids, which hold the texts, the tokenizer and the longest length.
        cache: folder; None keeps nothing.
        progress: called with (done, total).

    Returns:
        float32 [sequences, dim].
    """
    model.eval()
    device = next(model.parameters()).device

    def compute(ids: npt.NDArray[np.int64]) -> Vectors:
        input_ids = torch.from_numpy(ids).to(device)
        with torch.inference_mode():
            found = function(input_ids, torch.ones_like(input_ids))
        values: Vectors = found.to(torch.float32).cpu().numpy()
        return values

    if cache is None:
        return _uncached(sequences, compute, progress)
    key = {
        "what": what,
        "encoder": encoder_sha256(model),
        "sequences": _digest(canonical_json([list(ids) for ids in sequences], indent=None)),
        "torch": torch.__version__,
    }
    return cached_vectors(cache_file(cache, key), sequences, compute, progress=progress)


def _uncached(
    sequences: Sequence[Sequence[int]],
    compute: Callable[[npt.NDArray[np.int64]], Vectors],
    progress: Progress | None,
) -> Vectors:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return cached_vectors(Path(folder) / "vectors.npz", sequences, compute, progress=progress)


def encoder_sha256(model: PreTrainedModel) -> str:
    """Hex SHA-256 over a model's settings and over its weights, but for those of the head.

    Of each weight, in the order of the names: name, type, shape and bytes.
    """
    head = family_of_model(model).head
    config: dict[str, Any] = model.config.to_dict()
    settings = {k: v for k, v in config.items() if k not in _NAMES}
    digest = hashlib.sha256(canonical_json(settings, indent=None).encode())
    for name, value in sorted(model.state_dict().items()):
        if head.match(name):
            continue
        tensor = value.detach().cpu().contiguous()
        title = canonical_json([name, str(tensor.dtype), list(tensor.shape)], indent=None)
        digest.update(title.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
