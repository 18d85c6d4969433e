"""What pruning asks of a kind of vocabulary, and which module answers for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from export.shrinking.bpe import BpeVocabulary
from export.shrinking.unigram import UnigramVocabulary
from export.shrinking.wordpiece import WordPieceVocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Vocabulary(Protocol):
    """The pieces of one kind of tokenizer and the rules by which it needs them."""

    @property
    def pieces(self) -> Sequence[str]:
        """All pieces of the model in the order of their ids; added tokens beyond it are not."""
        ...

    def fallback(self) -> set[str]:
        """Pieces that are kept whatever the corpus holds: those that spell any word."""
        ...

    def closed(self, kept: set[str]) -> set[str]:
        """`kept` and what it needs, so that no word becomes unknown that was not."""
        ...

    def model(self, kept: Sequence[str]) -> dict[str, Any]:
        """The ``model`` of tokenizer.json with these pieces only, numbered in this order."""
        ...


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of a tokenizer whose kind was checked against its family.

    Raises:
        UserError: it uses a setting that pruning cannot keep the meaning of.
    """
    value = json.loads(tokenizer.to_str())
    model: dict[str, Any] = value["model"]
    added = frozenset(token["content"] for token in value["added_tokens"])
    if model["type"] == "WordPiece":
        return WordPieceVocabulary(model, added, tokenizer)
    if model["type"] == "BPE":
        return BpeVocabulary(model)
    return UnigramVocabulary(model, added)
