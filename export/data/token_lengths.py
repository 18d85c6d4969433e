"""What a tokenizer makes of a data set: how much is cut, unknown, or broken into small pieces."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.data.description import histogram_line
from export.data.tables import listed
from export.data.task import TextDataset
from runtime.console import note
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# Enough for shares of a percent, and a second at most for a vocabulary of any size.
SAMPLE = 4000
_UNKNOWN_NAMES = ("[UNK]", "<unk>")
# Bounds of the warnings. Measured with BERT's uncased English vocabulary: English sets have 1.2 to
# 1.4 ids a word and at most 0.4% unknown ids; French and German 1.8, Polish 3.1, Russian 4.4 ids a
# word; in Chinese, Tamil and Georgian 18% to 62% of the ids are unknown.
_MUCH_CUT = 0.05
_MUCH_UNKNOWN = 0.01
_MANY_IDS_A_WORD = 1.7
_MANY_ACCENTS = 0.02
_MAINLY = 0.5
# Written without blanks between words, so that ids per word say nothing.
_WITHOUT_BLANKS = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """What a tokenizer makes of the training texts.

    Attributes:
        lengths: ids of each text of the sample, special tokens included, before truncation.
        max_length: longest sequence in ids.
        cut: share of the texts that are longer than that.
        unknown_ids: share of the ids, without special tokens, that stand for something unknown.
        unknown_letters: share of the characters, without blanks, behind those ids.
        unknown: the commonest words that are unknown.
        ids_per_word: without special tokens; also called fertility.
        script: the one most letters belong to, as Unicode names it, such as ``LATIN``.
        accents: share of the letters that carry an accent which the tokenizer drops.
    """

    lengths: tuple[int, ...]
    max_length: int
    cut: float
    unknown_ids: float
    unknown_letters: float
    unknown: tuple[str, ...]
    ids_per_word: float
    script: str
    accents: float

    def lines(self) -> list[str]:
        """For a person: lengths, and a warning for each thing that is likely a mistake."""
        foreign = self.ids_per_word > _MANY_IDS_A_WORD and self.script not in _WITHOUT_BLANKS
        script = self.script if self.script == "CJK" else self.script.capitalize()
        found = [
            histogram_line("ids", self.lengths),
            f"{self.cut:.1%} of the texts are cut at {self.max_length} ids; "
            f"{self.ids_per_word:.1f} ids a word; {self.unknown_ids:.1%} of the ids unknown; "
            f"mostly {script} letters",
        ]
        if self.cut > _MUCH_CUT:
            found.append(
                f"warning: {self.cut:.0%} of the texts lose their end: a larger --max-length "
                "reads more of them"
            )
        if self.unknown_ids > _MUCH_UNKNOWN:
            found.append(
                f"warning: the vocabulary does not know {self.unknown_letters:.0%} of the "
                f"characters, as in {listed(self.unknown, 4)}: start from a model of the texts' "
                "language"
            )
        elif foreign:
            found.append(
                f"warning: words fall into {self.ids_per_word:.1f} pieces (1.2 to 1.4 are usual): "
                "the vocabulary was made for other texts or another language"
            )
        if self.accents > _MANY_ACCENTS:
            found.append(
                f"{self.accents:.0%} of the letters carry accents, which this tokenizer drops; a "
                "cased model keeps them"
            )
        return found


def token_lengths(dataset: TextDataset, tokenizer: Tokenizer, max_length: int) -> TokenLengths:
    """Measure a tokenizer on the training texts, on up to `SAMPLE` evenly spaced ones.

    Args:
        dataset: whose training split is read.
        tokenizer: is left as it is.
        max_length: longest sequence in ids, special tokens included.

    Raises:
        UserError: there is no training text.
    """
    from tokenizers import Tokenizer

    rows = dataset.splits["train"]
    if not rows:
        raise UserError(f"{dataset.name} has no training text")
    step = max(1, -(-len(rows) // SAMPLE))
    texts = [row.text for row in rows[::step]]
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    encodings = own.encode_batch(texts)
    lengths = np.array([len(encoding.ids) for encoding in encodings])
    plain = sum(len(e.ids) - sum(e.special_tokens_mask) for e in encodings)
    unknown = _unknown(own, texts, encodings)
    letters = sum(not c.isspace() for text in texts for c in text)
    return TokenLengths(
        lengths=tuple(int(n) for n in lengths),
        max_length=max_length,
        cut=float((lengths > max_length).mean()),
        unknown_ids=sum(unknown.values()) / max(1, plain),
        unknown_letters=sum(len(word) * n for word, n in unknown.items()) / max(1, letters),
        unknown=tuple(word for word, _ in unknown.most_common(10)),
        ids_per_word=plain / max(1, sum(len(text.split()) for text in texts)),
        script=_script(texts),
        accents=_dropped_accents(own, texts),
    )


def describe_lengths(dataset: TextDataset, tokenizer: Tokenizer, max_length: int) -> TokenLengths:
    """`token_lengths`, said on standard error."""
    found = token_lengths(dataset, tokenizer, max_length)
    for line in found.lines():
        note(f"  {line}")
    return found


def _unknown(tokenizer: Tokenizer, texts: list[str], encodings: list[Encoding]) -> Counter[str]:
    """Pieces of the texts that became the unknown token, and how often."""
    ids = {tokenizer.token_to_id(name) for name in _UNKNOWN_NAMES} - {None}
    found: Counter[str] = Counter()
    for text, encoding in zip(texts, encodings, strict=True):
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token in ids:
                found[text[start:end]] += 1
    return found


def _script(texts: list[str]) -> str:
    """First word of the Unicode name of most letters: LATIN, CYRILLIC, ARABIC, CJK or another."""
    letters = Counter(c for text in texts for c in text if c.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "UNKNOWN").split()[0]] += count
    if not scripts:
        return "NO"
    name, count = scripts.most_common(1)[0]
    return name if count >= _MAINLY * scripts.total() else "MIXED"


def _dropped_accents(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Share of the letters whose accent the tokenizer's normalizer takes away."""
    letters = Counter(c for text in texts for c in text if c.isalpha())
    normalizer = tokenizer.normalizer
    if normalizer is None or not letters:
        return 0.0
    lost = sum(
        count
        for letter, count in letters.items()
        if not letter.isascii()
        and _accents(letter) > 0
        and _accents(normalizer.normalize_str(letter)) == 0
    )
    return lost / letters.total()


def _accents(text: str) -> int:
    return sum(unicodedata.category(c) == "Mn" for c in unicodedata.normalize("NFD", text))
