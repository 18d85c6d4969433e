"""The whole step: a checkpoint becomes a smaller one, verified, compared and published at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from export.checkpoint import Checkpoint, load_tokenizer
from export.data.task import TextDataset
from export.publish import publish_folder, staging_folder
from export.shrinking.configuration import depth
from export.shrinking.effect import effect_of
from export.shrinking.layers import keep_layers, kept_layers
from export.shrinking.record import (
    ShrinkRecord,
    carry_training_record,
    is_replaceable,
    is_shrunk,
    read_shrink_record,
    write_shrink_record,
)
from export.shrinking.settings import OWN_DATA, ShrinkSettings
from export.shrinking.verify import Verified, verify_layers, verify_vocabulary
from export.shrinking.vocabulary import VocabularyFigures, prune_vocabulary
from export.shrinking.weights import tensors_in
from export.unlabelled import read_texts
from runtime.console import note, stage
from runtime.errors import UserError
from runtime.files import canonical_json

# Most texts of a split that both models answer.
COMPARED_TEXTS = 2000


def corpus_texts(settings: ShrinkSettings, dataset: TextDataset | None) -> tuple[str, ...]:
    """The texts whose pieces are kept, each once; none where the vocabulary is kept.

    Raises:
        UserError: the file cannot be read or is empty, or the corpus is the data and there are
            none.
    """
    if not settings.corpus:
        return ()
    if settings.corpus != OWN_DATA:
        return read_texts(Path(settings.corpus))
    if dataset is None:
        raise UserError(
            "--prune-vocab data needs the data whose texts are meant",
            todo="name them: --data FOLDER|FILE, or name a file of texts: --prune-vocab FILE",
        )
    return tuple(dict.fromkeys(example.text for example in dataset.splits["train"]))


def shrink(
    checkpoint: Checkpoint,
    settings: ShrinkSettings,
    destination: Path,
    *,
    dataset: TextDataset | None = None,
    max_length: int,
    limit: int = COMPARED_TEXTS,
) -> ShrinkRecord:
    """Write a smaller checkpoint.

    Layers go first, then pieces; each step is verified against the one before it, from the files
    that it wrote. Nothing is published unless all of it holds.

    Args:
        checkpoint: to shrink.
        settings: what is left out.
        destination: the new checkpoint's folder; replaced as a whole if it is a checkpoint of ours.
        dataset: labelled texts to compare both models on, and the corpus ``data``.
        max_length: in ids, for the comparison.
        limit: most texts of a split in the comparison.

    Returns:
        What was left out, and what it changed.

    Raises:
        UserError: it cannot be done, or what was made is not what it should be.
    """
    if destination.resolve() == checkpoint.path.resolve():
        raise UserError(
            f"{destination} is the checkpoint itself",
            why="it would be replaced by the smaller one",
            todo="choose another --out",
        )
    corpus = corpus_texts(settings, dataset)
    layers = kept_layers(checkpoint, settings) if settings.changes_layers else None
    key = shrink_key(checkpoint, settings, corpus, dataset, max_length, limit)
    with staging_folder(destination) as staging:
        smaller, vocabulary, verified = checkpoint, None, None
        if layers is not None:
            folder = staging.with_name("shallower") if corpus else staging
            smaller = _shallower(checkpoint, layers, folder)
        if corpus:
            smaller, vocabulary, verified = _pruned(smaller, corpus, settings, staging)
        effect = None
        if dataset is not None:
            effect = effect_of(checkpoint, smaller, dataset, max_length=max_length, limit=limit)
            if effect is None:
                note("  its head does not answer what the data ask: nothing to compare")
        before, after = _size(checkpoint), _size(smaller)
        record = ShrinkRecord(
            name=smaller.name,
            source={
                "name": checkpoint.name,
                "revision": checkpoint.revision,
                "weights_sha256": checkpoint.weights_sha256(),
            },
            key=key,
            layers=layers,
            layers_before=depth(checkpoint),
            vocabulary=vocabulary,
            verified=verified,
            parameters_before=before[0],
            parameters_after=after[0],
            bytes_before=before[1],
            bytes_after=after[1],
            effect=effect.splits if effect else (),
        )
        carry_training_record(checkpoint, record, effect, staging)
        write_shrink_record(record, staging)
        publish_folder(staging, destination, is_ours=is_replaceable)
    return record


def shrunk_before(folder: Path, key: str) -> bool:
    """Whether a folder holds just this result already."""
    return is_shrunk(folder) and read_shrink_record(folder).key == key


def shrink_key(
    checkpoint: Checkpoint,
    settings: ShrinkSettings,
    corpus: Sequence[str],
    dataset: TextDataset | None,
    max_length: int,
    limit: int,
) -> str:
    """SHA-256 of all that decides on the result, the figures in its record included."""
    value = {
        "weights": checkpoint.weights_sha256(),
        "config": checkpoint.config,
        "tokenizer": hashlib.sha256(load_tokenizer(checkpoint).to_str().encode()).hexdigest(),
        "settings": dict(settings.what_decides()),
        "corpus": hashlib.sha256(json.dumps(list(corpus)).encode()).hexdigest(),
        "data": None if dataset is None else [dataset.sha256(), max_length, limit],
    }
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _shallower(checkpoint: Checkpoint, layers: tuple[int, ...], folder: Path) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    with stage(f"keeping {len(layers)} of {depth(checkpoint)} layers"):
        smaller = keep_layers(checkpoint, layers, folder)
        verify_layers(checkpoint, smaller, layers)
    return smaller


def _pruned(
    checkpoint: Checkpoint, corpus: Sequence[str], settings: ShrinkSettings, folder: Path
) -> tuple[Checkpoint, VocabularyFigures, Verified]:
    with stage(f"keeping the pieces of {len(corpus)} texts"):
        smaller, figures = prune_vocabulary(checkpoint, corpus, settings, folder)
    with stage("comparing pieces, weights and logits with the larger model"):
        lossless = settings.is_lossless_on_corpus
        verified = verify_vocabulary(checkpoint, smaller, corpus, lossless=lossless)
    return smaller, figures, verified


def _size(checkpoint: Checkpoint) -> tuple[int, int]:
    """Numbers in the weight files, and the files' bytes."""
    numbers = sum(tensor.numel() for _, tensor in tensors_in(checkpoint.path))
    return numbers, sum(file.stat().st_size for file in checkpoint.path.glob("*.safetensors"))
