"""Which pieces are kept: counted in the corpus, ranked, and completed by the kind's own rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.shrinking.kinds import Vocabulary
from export.shrinking.settings import ShrinkSettings
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """The tokens of the smaller vocabulary.

    Attributes:
        tokens: in the order of their new ids, which is that of the old ones.
        used: of them, how many the corpus uses.
        fallback: of them, how many are there only to spell what the corpus does not have.
        dropped_used: pieces that the corpus uses and that a limit left out.
    """

    tokens: tuple[str, ...]
    used: int
    fallback: int
    dropped_used: int


def encodings(
    tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = False
) -> Iterator[Encoding]:
    """Texts cut into pieces, by default without special tokens around them.

    Lone surrogates, which UTF-8 cannot carry, become U+FFFD as in the runtime.
    """
    for start in range(0, len(texts), _BATCH):
        batch = [_SURROGATE.sub("\ufffd", text) for text in texts[start : start + _BATCH]]
        yield from tokenizer.encode_batch(batch, add_special_tokens=special)


def count_pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    """How often each token occurs."""
    counts: Counter[str] = Counter()
    for encoding in encodings(tokenizer, texts):
        counts.update(encoding.tokens)
    return counts


def select(
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    counts: Counter[str],
    settings: ShrinkSettings,
    protected: Iterable[str],
) -> Selection:
    """Choose.

    Args:
        tokenizer: whose ids give the order.
        vocabulary: its pieces and their rules.
        counts: of the corpus.
        settings: min_count and vocab_size.
        protected: tokens that stay in any case: special and added ones, those that the model's
            configuration names.

    Raises:
        UserError: vocab_size is below what cannot be left out.
    """
    ids = tokenizer.get_vocab(with_added_tokens=True)
    base = vocabulary.closed({*protected, *vocabulary.fallback()} & ids.keys())
    wanted = [
        piece
        for piece, count in sorted(counts.items(), key=lambda item: (-item[1], ids[item[0]]))
        if count >= settings.min_count and piece not in base
    ]
    most = settings.vocab_size
    if most is not None and len(base) > most:
        raise UserError(
            f"a vocabulary of {most} tokens is too small",
            why=f"special tokens and single characters alone are {len(base)}; without them words "
            "would become unknown",
            todo=f"choose at least {len(base)}: --vocab-size {len(base)}",
        )
    kept = vocabulary.closed(base.union(wanted))
    if most is not None and len(kept) > most:
        kept = _fitting(vocabulary, base, wanted, most)
    # Added tokens beyond the model's own pieces have the highest ids, and stay there.
    inside = set(vocabulary.pieces)
    tokens = sorted(kept, key=lambda token: (token not in inside, ids[token]))
    used = sum(1 for token in tokens if counts[token])
    return Selection(
        tokens=tuple(tokens),
        used=used,
        fallback=len(tokens) - used,
        dropped_used=sum(1 for token in counts if token not in kept),
    )


def _fitting(vocabulary: Vocabulary, base: set[str], wanted: list[str], most: int) -> set[str]:
    """As many of the commonest pieces as fit with what they need; more pieces never need fewer."""
    low, high = 0, len(wanted)
    while low < high:
        middle = (low + high + 1) // 2
        if len(vocabulary.closed(base.union(wanted[:middle]))) <= most:
            low = middle
        else:
            high = middle - 1
    return vocabulary.closed(base.union(wanted[:low]))
