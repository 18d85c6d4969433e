"""SentencePiece Unigram: the likeliest cut; scores stay as they are.

Why nothing becomes unknown: a character is unknown where no piece is that character, and all of
these are kept. Why the corpus is cut as before: its likeliest cut is still there, and no new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.errors import UserError


class UnigramVocabulary:
    """See `export.shrinking.kinds.Vocabulary`."""

    def __init__(self, model: dict[str, Any], added: frozenset[str]) -> None:
        """Take a model of tokenizer.json.

        Raises:
            UserError: it falls back to bytes, or a piece has a character that is no piece.
        """
        if model.get("byte_fallback"):
            raise UserError(
                "the vocabulary cannot be pruned: its Unigram falls back to bytes",
                todo="leave --prune-vocab out",
            )
        self._model = model
        self._scores: dict[str, float] = dict(model["vocab"])
        self.pieces = [piece for piece, _ in model["vocab"]]
        unknown = self.pieces[model["unk_id"]] if model["unk_id"] is not None else None
        self._unknown = unknown
        for piece in self.pieces:
            letter = next((c for c in piece if c not in self._scores), None)
            if letter is not None and piece not in added and piece != unknown:
                raise UserError(
                    f"the vocabulary cannot be pruned: {letter!r} is in the piece {piece!r} and "
                    "no piece by itself",
                    why="without that piece it would be unknown, and the likeliest cut may pass "
                    "over a piece that was kept",
                    todo="leave --prune-vocab out",
                )

    def fallback(self) -> set[str]:
        """Every character, and the least likely piece: what an unknown one costs depends on it."""
        least = min(self.pieces, key=self._scores.__getitem__)
        unknown = {self._unknown} if self._unknown is not None else set()
        return {piece for piece in self.pieces if len(piece) == 1} | {least} | unknown

    def closed(self, kept: set[str]) -> set[str]:
        """`kept`: nothing else is needed."""
        return set(kept)

    def model(self, kept: Sequence[str]) -> dict[str, Any]:
        """Pieces with their scores, and the number of the unknown one."""
        number = {piece: i for i, piece in enumerate(kept)}
        return self._model | {
            "vocab": [[piece, self._scores[piece]] for piece in kept],
            "unk_id": None if self._unknown is None else number[self._unknown],
        }
