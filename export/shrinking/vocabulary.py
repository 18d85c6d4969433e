"""A checkpoint with the pieces that a corpus needs: tokenizer, embedding and config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.checkpoint import Checkpoint, load_tokenizer, read_checkpoint
from export.shrinking.configuration import effective, named_ids, write_config
from export.shrinking.folders import copy_tokenizer
from export.shrinking.kinds import vocabulary_of
from export.shrinking.selection import Selection, count_pieces, select
from export.shrinking.settings import ShrinkSettings
from export.shrinking.tokenizer import smaller_tokenizer
from export.shrinking.weights import write_changed
from runtime.errors import UserError

if TYPE_CHECKING:
    import torch

_EMBEDDING = re.compile(r"(^|\.)word_embeddings?\.weight$")
# Heads that guess words, which a checkpoint may have beside or instead of a classifier.
_HEAD = re.compile(
    r"(^|\.)((cls\.)?predictions\.(decoder\.(weight|bias)|bias)|vocab_projector\.(weight|bias)"
    r"|(generator_)?lm_head\.(decoder\.)?(weight|bias)|lm_loss\.(weight|bias))$"
)
# MobileBERT's head has a second matrix with the words along its other side.
_ACROSS = re.compile(r"(^|\.)cls\.predictions\.dense\.weight$")


@dataclass(frozen=True, slots=True)
class VocabularyFigures:
    """What became of a vocabulary.

    Attributes:
        tokens_before, tokens_after: ids of the tokenizer.
        rows_before: rows of the embedding, which may have been more than the tokens.
        used: tokens that the corpus uses.
        fallback: tokens that are there only to spell what the corpus does not have.
        dropped_used: tokens of the corpus that a limit left out.
        corpus_texts: how many texts were read.
    """

    tokens_before: int
    tokens_after: int
    rows_before: int
    used: int
    fallback: int
    dropped_used: int
    corpus_texts: int

    def to_json(self) -> dict[str, Any]:
        """For shrinking.json."""
        return asdict(self)


def prune_vocabulary(
    checkpoint: Checkpoint, corpus: Sequence[str], settings: ShrinkSettings, folder: Path
) -> tuple[Checkpoint, VocabularyFigures]:
    """Write the checkpoint with a smaller vocabulary.

    Args:
        checkpoint: of any family.
        corpus: texts whose pieces are kept.
        settings: limits.
        folder: empty; becomes a checkpoint.

    Returns:
        The new checkpoint, not verified yet, and what became of its vocabulary.

    Raises:
        UserError: the tokenizer or the weights are of a kind that cannot be pruned, nothing would
            be left out, or a limit is too low.
    """
    tokenizer = load_tokenizer(checkpoint)
    vocabulary = vocabulary_of(tokenizer)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    selection = select(
        tokenizer,
        vocabulary,
        count_pieces(tokenizer, corpus),
        settings,
        _protected(checkpoint, tokenizer.to_str(), ids),
    )
    before, after = len(ids), len(selection.tokens)
    rows = int(effective(checkpoint).vocab_size)
    if after == rows:
        raise UserError(
            f"all {before} tokens of {checkpoint.name} are needed",
            why="the corpus uses every one that is not a single character or special",
            todo="leave --prune-vocab out, or set --min-count or --vocab-size",
        )
    smaller = smaller_tokenizer(tokenizer, vocabulary, selection)
    old_rows = [ids[token] for token in selection.tokens]
    write_changed(checkpoint.path, folder, _Gather(old_rows, rows, checkpoint.name))
    write_config(checkpoint, _changes(checkpoint, selection, old_rows), folder)
    copy_tokenizer(checkpoint, smaller, folder)
    pruned = read_checkpoint(folder, name=f"{checkpoint.name}, {after} tokens", revision=None)
    figures = VocabularyFigures(
        tokens_before=before,
        tokens_after=after,
        rows_before=rows,
        used=selection.used,
        fallback=selection.fallback,
        dropped_used=selection.dropped_used,
        corpus_texts=len(corpus),
    )
    return pruned, figures


def vocabulary_axis(name: str) -> int | None:
    """Along which side of a weight the words are; None for a weight without words."""
    if _EMBEDDING.search(name) or _HEAD.search(name):
        return 0
    return 1 if _ACROSS.search(name) else None


def _protected(checkpoint: Checkpoint, text: str, ids: dict[str, int]) -> set[str]:
    """Tokens that somebody asks for by name or by id."""
    special = checkpoint.family.special
    tokens = {special.pad, special.unk, special.cls, special.sep, special.mask, *special.order}
    tokens |= {token["content"] for token in json.loads(text)["added_tokens"]}
    named = set(named_ids(checkpoint).values())
    return (tokens & ids.keys()) | {token for token, i in ids.items() if i in named}


def _changes(checkpoint: Checkpoint, selection: Selection, old_rows: list[int]) -> dict[str, Any]:
    """config.json's new values.

    Raises:
        UserError: positions are counted from the padding's id, and that would change.
    """
    number = {old: new for new, old in enumerate(old_rows)}
    named = named_ids(checkpoint)
    unused = checkpoint.family.unused_positions
    pad = named.get("pad_token_id")
    if pad is not None and unused(number.get(pad, 0)) != unused(pad):
        raise UserError(
            f"the vocabulary of {checkpoint.name} cannot be pruned",
            why=f"{checkpoint.family.title} counts positions from the padding's id, which is {pad} "
            "and would change",
            todo="leave --prune-vocab out",
        )
    # An id beyond the tokenizer's names a row that nothing reads; it may not name none.
    ids = {name: number.get(old) for name, old in named.items()}
    return {"vocab_size": len(selection.tokens), **ids}


class _Gather:
    """Picks the rows of the kept tokens wherever words are along a side."""

    def __init__(self, rows: list[int], whole: int, name: str) -> None:
        import torch

        self._rows = torch.tensor(rows)
        self._whole = whole
        self._name = name

    def __call__(self, name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
        axis = vocabulary_axis(name)
        if axis is None:
            return name, tensor
        if tensor.shape[axis] != self._whole:
            raise UserError(
                f"{name} of {self._name} has {tensor.shape[axis]} rows",
                why=f"config.json says {self._whole}",
                todo="copy config.json and the weights from the same checkpoint",
            )
        return name, tensor.index_select(axis, self._rows)
