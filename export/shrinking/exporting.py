"""Shrinking as a step of an export: done once, found again by what decides on it."""

from __future__ import annotations

from pathlib import Path

from export.checkpoint import Checkpoint, read_checkpoint
from export.data.task import TextDataset
from export.shrinking.record import is_shrunk, read_shrink_record
from export.shrinking.report import print_shrunk, shrinking_markdown
from export.shrinking.settings import ShrinkSettings
from export.shrinking.shrink import COMPARED_TEXTS, corpus_texts, shrink, shrink_key, shrunk_before
from runtime.console import note


def shrink_for_export(
    checkpoint: Checkpoint,
    settings: ShrinkSettings,
    root: Path,
    dataset: TextDataset,
    max_length: int,
) -> Checkpoint:
    """A smaller checkpoint below `root`; one that an earlier export made is used again.

    Raises:
        UserError: see `export.shrinking.shrink.shrink`.
    """
    corpus = corpus_texts(settings, dataset)
    key = shrink_key(checkpoint, settings, corpus, dataset, max_length, COMPARED_TEXTS)
    plain = "".join(c if c.isalnum() else "-" for c in checkpoint.name).strip("-")
    folder = root / f"{plain}-shrunk-{key[:12]}"
    if shrunk_before(folder, key):
        note(f"  using the smaller checkpoint {folder}")
    else:
        shrink(checkpoint, settings, folder, dataset=dataset, max_length=max_length)
    record = read_shrink_record(folder)
    print_shrunk(record)
    return read_checkpoint(folder, name=record.name, revision=None)


def shrunk_markdown(*folders: Path) -> str:
    """What the card says of the first of these checkpoints that is a smaller one; else nothing."""
    for folder in folders:
        if is_shrunk(folder):
            return shrinking_markdown(read_shrink_record(folder))
    return ""
