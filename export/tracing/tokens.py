"""A text on its way to ids: normalised, cut into words, into tokens, and to length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.tracing.document import TokenStep

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_UNKNOWN = ("[UNK]", "<unk>")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """See `TextTrace` for the attributes."""

    text: str
    normalised: str
    words: tuple[str, ...]
    tokens: tuple[TokenStep, ...]
    left_out: int

    @property
    def ids(self) -> list[int]:
        """What the model reads."""
        return [token.id for token in self.tokens]


def tokenized(tokenizer: Tokenizer, text: str, max_length: int) -> TokenizedText:
    """Tokenize one text, keeping every stage.

    Args:
        tokenizer: is set to cut at `max_length` and not to pad.
        text: any string; half a surrogate pair, which UTF-8 cannot carry, becomes U+FFFD.
        max_length: longest sequence in ids, special tokens included.
    """
    clean = _SURROGATE.sub(_REPLACEMENT, text)
    normalised = clean
    if tokenizer.normalizer is not None:
        normalised = tokenizer.normalizer.normalize_str(clean)
    words: tuple[str, ...] = (normalised,) if normalised else ()
    if tokenizer.pre_tokenizer is not None:
        # By offset, because byte-level and SentencePiece's pieces are not readable themselves.
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(normalised)
        words = tuple(normalised[start:end] for _, (start, end) in pieces)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    whole = len(tokenizer.encode(clean).ids)
    tokenizer.enable_truncation(max_length=max_length)
    encoding = tokenizer.encode(clean)
    unknown = {tokenizer.token_to_id(name) for name in _UNKNOWN} - {None}
    tokens = tuple(
        TokenStep(
            position=position,
            token=encoding.tokens[position],
            id=number,
            start=encoding.offsets[position][0],
            end=encoding.offsets[position][1],
            text=clean[slice(*encoding.offsets[position])],
            word=encoding.word_ids[position],
            special=bool(encoding.special_tokens_mask[position]),
            unknown=number in unknown,
        )
        for position, number in enumerate(encoding.ids)
    )
    return TokenizedText(clean, normalised, words, tokens, whole - len(tokens))
