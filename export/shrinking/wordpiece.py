"""WordPiece: longest match first, so a smaller vocabulary may cut a word elsewhere.

Why no word becomes unknown. WordPiece takes the longest piece that starts where the last one ended,
and gives the word up when there is none. Where every character is a piece by itself, at the start
of a word and inside it (``c`` and ``##c``), there always is one. In the vocabularies that trainers
make, every piece is spelled by such characters. A piece that is not (call it hard) is kept; but
longest match may jump over its beginning once other pieces are gone. `closed` keeps those pieces,
too, that hold the smaller vocabulary in step: see there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class WordPieceVocabulary:
    """See `export.shrinking.kinds.Vocabulary`."""

    def __init__(self, model: dict[str, Any], added: frozenset[str], tokenizer: Tokenizer) -> None:
        self._model = model
        self._prefix: str = model["continuing_subword_prefix"]
        self._tokenizer = tokenizer
        self.pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        self._known = frozenset(self.pieces)
        self._hard = self._hard_pieces(added | {model["unk_token"]})

    def fallback(self) -> set[str]:
        """Every single character, at the start of a word and inside it."""
        return {piece for piece in self.pieces if len(self._text(piece)) == 1}

    def closed(self, kept: set[str]) -> set[str]:
        """`kept`, the hard pieces, and what keeps longest match in step before each of them.

        Let a hard piece p be in the whole vocabulary's cut of a word. The smaller vocabulary's cut
        misses it only if one of its pieces, q, starts before p and ends inside it. The whole
        vocabulary did not take q there, because it was inside another piece, r, that ends between
        the starts of q and p. If every such r is kept, the smaller cut was out of step before r
        already, and so on back to the start of the word, where both are in step.
        """
        found = kept | self._hard
        guarded = {self._text(piece) for piece in self._hard if self._continues(piece)}
        tails = self._by_tail() if guarded else {}
        grows = bool(guarded)
        while grows:
            covering = set(self._covering(found, guarded, tails))
            texts = {self._text(piece) for piece in covering if self._continues(piece)}
            grows = not (covering <= found and texts <= guarded)
            found |= covering
            guarded |= texts
        return found

    def model(self, kept: Sequence[str]) -> dict[str, Any]:
        """The same settings, another list."""
        return self._model | {"vocab": {piece: i for i, piece in enumerate(kept)}}

    def _covering(
        self, kept: set[str], guarded: set[str], tails: Mapping[str, Sequence[str]]
    ) -> Iterator[str]:
        """Every r of `closed` for these p, where q is a kept piece inside a word."""
        heads = {text[:end] for text in guarded for end in range(1, len(text) + 1)}
        for text in (self._text(piece) for piece in kept if self._continues(piece)):
            for overlap in range(1, len(text)):
                if text[-overlap:] in heads:
                    for end in range(1, len(text) - overlap + 1):
                        yield from tails.get(text[:end], ())

    def _by_tail(self) -> dict[str, list[str]]:
        """Proper endings of a piece's text → the pieces."""
        found: dict[str, list[str]] = defaultdict(list)
        for piece in self.pieces:
            text = self._text(piece)
            for start in range(1, len(text)):
                found[text[start:]].append(piece)
        return found

    def _hard_pieces(self, never: frozenset[str]) -> frozenset[str]:
        """Pieces that their characters do not spell and that a text can bring about."""
        candidates = (
            piece
            for piece in self.pieces
            if piece not in never and not self._known.issuperset(self._spelled(piece))
        )
        return frozenset(piece for piece in candidates if self._can_occur(self._text(piece)))

    def _spelled(self, piece: str) -> Iterator[str]:
        text = self._text(piece)
        for i, letter in enumerate(text):
            yield letter if i == 0 and not self._continues(piece) else self._prefix + letter

    def _can_occur(self, text: str) -> bool:
        """Whether normalization leaves it alone and no word ends inside it ([unused1] …)."""
        normalizer, splitter = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        if normalizer is not None and normalizer.normalize_str(text) != text:
            return False
        return splitter is None or len(splitter.pre_tokenize_str(text)) == 1

    def _continues(self, piece: str) -> bool:
        return piece.startswith(self._prefix) and len(piece) > len(self._prefix)

    def _text(self, piece: str) -> str:
        return piece.removeprefix(self._prefix) if self._continues(piece) else piece
