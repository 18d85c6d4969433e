"""Byte-level BPE: bytes stay, so nothing is unknown; merges stay if all their parts do.

Why the corpus is cut as before. BPE always applies the earliest merge that it can. Each piece of
the corpus is kept with all that it is made of, so every merge of the old run is still there; the
merges are a part of the old ones in their old order, so the earliest one is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from runtime.errors import UserError

# Settings that change what a merge makes, or skip merges; RoBERTa's checkpoints have none of them.
_UNUSUAL = (
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)


class BpeVocabulary:
    """See `export.shrinking.kinds.Vocabulary`."""

    def __init__(self, model: dict[str, Any]) -> None:
        """Take a model of tokenizer.json.

        Raises:
            UserError: it has a setting that changes what merges mean.
        """
        odd = [name for name in _UNUSUAL if model.get(name)]
        if odd:
            raise UserError(
                f"the vocabulary cannot be pruned: its BPE has {odd[0]}",
                why="merges mean something else then",
                todo="leave --prune-vocab out",
            )
        self._model = model
        self.pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        self._ranks: dict[tuple[str, str], int] = {}
        for rank, (left, right) in enumerate(model["merges"]):
            self._ranks.setdefault((left, right), rank)

    def fallback(self) -> set[str]:
        """The bytes."""
        return {piece for piece in self.pieces if len(piece) == 1}

    def closed(self, kept: set[str]) -> set[str]:
        """`kept`, and every piece on the way from the bytes to them."""
        return kept.union(*map(self._steps, kept))

    def model(self, kept: Sequence[str]) -> dict[str, Any]:
        """Pieces, and the merges among them in their old order."""
        vocab = {piece: i for i, piece in enumerate(kept)}
        merges = [
            [left, right]
            for left, right in self._model["merges"]
            if left in vocab and right in vocab and left + right in vocab
        ]
        return self._model | {"vocab": vocab, "merges": merges}

    def _steps(self, piece: str) -> Iterator[str]:
        """What merging makes of the piece's bytes, one merge after the other."""
        parts = list(piece)
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            ranked = [(self._ranks[pair], i) for i, pair in enumerate(pairs) if pair in self._ranks]
            if not ranked:
                return  # an added token, which no merge makes
            _, at = min(ranked)
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
            yield parts[at]
