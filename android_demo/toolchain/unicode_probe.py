"""What Hugging Face's `tokenizers` makes of every code point, found by asking it.

Its rules come from several libraries whose Unicode versions differ from one another, from
Python's and from every Android's. Nothing here is looked up in a Unicode table: each fact is read
off the answer to a text, and a fact that does not have the expected shape is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

# Every scalar value: surrogates cannot be in a text that `tokenizers` reads.
_CODE_POINTS = tuple(itertools.chain(range(0xD800), range(0xE000, 0x110000)))
_CHUNK = 256
# Hangul syllables decompose by arithmetic (Unicode, section 3.12), so no table lists them.
HANGUL = range(0xAC00, 0xAC00 + 11172)
# Of the lowest and of the highest combining class above 0: every other class is told by them.
_LOWEST_MARK, _HIGHEST_MARK = "\u0334", "\u0345"
# A special token to put beside each character.
_TOKEN = "[T]"  # noqa: S105 - no password

Mapping = dict[int, tuple[int, ...]]


class UnexpectedAnswerError(Exception):
    """`tokenizers` treats a character in a way that the tables cannot say."""


@dataclass(frozen=True, slots=True)
class UnicodeFacts:
    r"""Sets of code points and mappings; whoever has them can rebuild BERT's and RoBERTa's rules.

    Attributes:
        clean_dropped: BertNormalizer's clean_text removes it.
        clean_spaces: BertNormalizer's clean_text makes it a space.
        chinese: BertNormalizer's handle_chinese_chars puts spaces around it.
        accents: BertNormalizer's strip_accents removes it after decomposition.
        whitespace: BertPreTokenizer drops it, ``\s`` matches it in ByteLevel's pattern, and a
            special token that strips spaces takes it.
        punctuation: BertPreTokenizer makes it a word of its own.
        letters, numbers: ``\p{L}`` and ``\p{N}`` in ByteLevel's pattern.
        word_characters: a special token beside it is no single word.
        combining_ranks: number of the combining class among all classes, from 1, ascending.
        decompositions: canonical, complete; without Hangul syllables.
        lowercase: likewise.
    """

    clean_dropped: frozenset[int]
    clean_spaces: frozenset[int]
    chinese: frozenset[int]
    accents: frozenset[int]
    whitespace: frozenset[int]
    punctuation: frozenset[int]
    letters: frozenset[int]
    numbers: frozenset[int]
    word_characters: frozenset[int]
    combining_ranks: dict[int, int]
    decompositions: Mapping
    lowercase: Mapping


def probe() -> UnicodeFacts:
    """Ask about all 1,112,064 code points; takes some seconds.

    Raises:
        UnexpectedAnswerError: this version of `tokenizers` has a rule that the tables cannot say.
    """
    decompositions = _decompositions()
    dropped, spaces = _clean()
    whitespace, punctuation = _bert_words()
    byte_whitespace, letters, numbers = _byte_level_classes()
    stripped, word_characters = _around_special_tokens()
    if not whitespace == byte_whitespace == stripped:
        raise UnexpectedAnswerError("there is more than one idea of whitespace")
    return UnicodeFacts(
        clean_dropped=dropped,
        clean_spaces=spaces,
        chinese=_chinese(),
        accents=_accents(decompositions),
        whitespace=whitespace,
        punctuation=punctuation,
        letters=letters,
        numbers=numbers,
        word_characters=word_characters,
        combining_ranks=_combining_ranks(decompositions),
        decompositions=_without_hangul(decompositions),
        lowercase=_mapping(_bert(lowercase=True)),
    )


def _bert(**flags: bool) -> Callable[[str], str]:
    """BertNormalizer with these flags and no other."""
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    settings = dict.fromkeys(names, False) | flags
    normalizer = normalizers.BertNormalizer(**settings)
    return lambda text: str(normalizer.normalize_str(text))


def _answers(normalize: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    """(code point, what became of it) for those that change."""
    for point in _CODE_POINTS:
        if (answer := normalize(chr(point))) != chr(point):
            yield point, answer


def _mapping(normalize: Callable[[str], str]) -> Mapping:
    return {point: tuple(map(ord, answer)) for point, answer in _answers(normalize)}


def _clean() -> tuple[frozenset[int], frozenset[int]]:
    answers = dict(_answers(_bert(clean_text=True)))
    if odd := set(answers.values()) - {"", " "}:
        raise UnexpectedAnswerError(f"clean_text makes {odd.pop()!r} of a character")
    dropped = frozenset(point for point, answer in answers.items() if not answer)
    return dropped, frozenset(answers) - dropped


def _chinese() -> frozenset[int]:
    answers = dict(_answers(_bert(handle_chinese_chars=True)))
    for point, answer in answers.items():
        if answer != f" {chr(point)} ":
            raise UnexpectedAnswerError(f"handle_chinese_chars makes {answer!r} of U+{point:04X}")
    return frozenset(answers)


def _decompositions() -> Mapping:
    return _mapping(normalizers.NFD().normalize_str)


def _accents(decompositions: Mapping) -> frozenset[int]:
    answers = dict(_answers(_bert(strip_accents=True)))
    accents = frozenset(point for point, answer in answers.items() if not answer)
    accents -= decompositions.keys()
    for point, answer in answers.items():
        parts = decompositions.get(point, (point,))
        if answer != "".join(chr(part) for part in parts if part not in accents):
            raise UnexpectedAnswerError(f"strip_accents makes {answer!r} of U+{point:04X}")
    return accents


def _without_hangul(decompositions: Mapping) -> Mapping:
    for point in HANGUL:
        index = point - HANGUL.start
        parts = [0x1100 + index // 588, 0x1161 + index % 588 // 28]
        if index % 28:
            parts.append(0x11A7 + index % 28)
        if decompositions[point] != tuple(parts):
            raise UnexpectedAnswerError(f"U+{point:04X} does not decompose as Hangul does")
    return {point: parts for point, parts in decompositions.items() if point not in HANGUL}


def _combining_ranks(decompositions: Mapping) -> dict[int, int]:
    """Two marks change places exactly if the first has the higher class, so sorting ranks them."""
    normalizer = normalizers.NFD()

    def swaps(first: str, second: str) -> bool:
        return bool(normalizer.normalize_str(first + second) == second + first)

    classes: list[list[str]] = []  # members of each class; classes ascend
    for point in _CODE_POINTS:
        mark = chr(point)
        if point in decompositions or mark in (_LOWEST_MARK, _HIGHEST_MARK):
            is_mark = point not in decompositions
        else:
            is_mark = swaps(mark, _LOWEST_MARK) or swaps(_HIGHEST_MARK, mark)
        if not is_mark:
            continue
        low, high = 0, len(classes)
        while low < high:
            middle = (low + high) // 2
            if swaps(mark, classes[middle][0]):
                low = middle + 1
            elif swaps(classes[middle][0], mark):
                high = middle
            else:
                classes[middle].append(mark)
                break
        else:
            classes.insert(low, [mark])
    return {ord(mark): rank for rank, marks in enumerate(classes, 1) for mark in marks}


def _chunks(points: Sequence[int] = _CODE_POINTS) -> Iterator[Sequence[int]]:
    """Some hundred at a time: offsets in long texts take `tokenizers` long."""
    for start in range(0, len(points), _CHUNK):
        yield points[start : start + _CHUNK]


def _bert_words() -> tuple[frozenset[int], frozenset[int]]:
    """Whitespace and punctuation: between two letters the one vanishes, the other stands alone."""
    splitter = pre_tokenizers.BertPreTokenizer()
    whitespace: set[int] = set()
    punctuation: set[int] = set()
    for chunk in _chunks():
        spans = splitter.pre_tokenize_str("".join(f"a{chr(point)}b " for point in chunk))
        inside = {place for _, (start, end) in spans for place in range(start, end)}
        starts = {start for _, (start, _) in spans}
        for i, point in enumerate(chunk):
            place = 4 * i + 1
            if place not in inside:
                whitespace.add(point)
            elif place in starts:
                punctuation.add(point)
    return frozenset(whitespace), frozenset(punctuation)


def _byte_level_classes() -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    r"""``\s``, ``\p{L}``, ``\p{N}``: a character joins only its own kind."""
    # Nine in ten are none of these, so they are asked first and not again.
    others = _joining("!", _CODE_POINTS)
    rest = [point for point in _CODE_POINTS if point not in others]
    letters, numbers = _joining("a", rest), _joining("1", rest)
    if both := letters & numbers:
        raise UnexpectedAnswerError(f"U+{min(both):04X} is both letter and number to ByteLevel")
    return frozenset(rest) - letters - numbers, letters, numbers


def _joining(neighbour: str, points: Sequence[int]) -> frozenset[int]:
    """Those that ByteLevel leaves in one word with a character before them."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found: set[int] = set()
    for chunk in _chunks(points):
        text = "".join(f"{neighbour}{chr(point)}\n" for point in chunk)
        starts = {start for _, (start, _) in splitter.pre_tokenize_str(text)}
        found.update(point for i, point in enumerate(chunk) if 3 * i + 1 not in starts)
    return frozenset(found)


def _around_special_tokens() -> tuple[frozenset[int], frozenset[int]]:
    """What a special token strips, and what makes it part of a longer word; on both sides."""
    strip = AddedToken(_TOKEN, lstrip=True, rstrip=True, normalized=False)
    alone = AddedToken(_TOKEN, single_word=True, normalized=False)
    spans = _token_spans(strip, "!{0}[T]{0}!")
    before = {point for point, span in spans.items() if span and span[0] == 1}
    after = {point for point, span in spans.items() if span and span[1] == len("![T]!") + 1}
    starting = {point for point, span in _token_spans(alone, "!![T]{0}!").items() if span is None}
    ending = {point for point, span in _token_spans(alone, "!{0}[T]!!").items() if span is None}
    if before != after or starting != ending:
        raise UnexpectedAnswerError("a special token treats its left and its right differently")
    return frozenset(before), frozenset(starting)


def _token_spans(token: AddedToken, pattern: str) -> dict[int, tuple[int, int] | None]:
    """For each code point in a pattern: from where to where the token reaches, if it is found."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}))
    tokenizer.add_tokens([token])
    number = tokenizer.token_to_id(_TOKEN)
    length = len(pattern.format("x"))
    spans: dict[int, tuple[int, int] | None] = {}
    for chunk in _chunks():
        encoding = tokenizer.encode("".join(pattern.format(chr(point)) for point in chunk))
        found = {
            start // length: (start % length, end - start // length * length)
            for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if id_ == number
        }
        spans.update((point, found.get(i)) for i, point in enumerate(chunk))
    return spans
