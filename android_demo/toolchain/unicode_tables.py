"""The Unicode tables of the Kotlin, JavaScript and Swift tokenizers, from one encoding.

Each table is a string of the 64 characters of base64url, so it stands in any source file without
escapes and loads without a parser:

* A **number** is written in groups of 5 bits, lowest first. Each group is one character; 32 is
  added to every group but the last. Line breaks between characters mean nothing.
* A **set** is a list of ranges, ascending: (gap since the end of the range before, length - 1).
* **Ranks** are a list of ranges likewise, each with its rank: (gap, length - 1, rank).
* A **mapping** is a list of entries, ascending: (key - the key before, number of targets, targets).
  A target is written as its difference to the last target that stood in the same place of an
  entry, 0 at first; a difference d is written as 2d, or as -2d - 1 if it is negative.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from textwrap import wrap

from android_demo.toolchain.unicode_probe import Mapping, UnicodeFacts
from runtime.files import write_atomically

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LINE = 96
_MOST_TARGETS = 4

# (name, what it is), in the order of the files.
_MEANINGS = {
    "clean_dropped": "Set: clean_text removes these.",
    "clean_spaces": "Set: clean_text makes each of these a space.",
    "chinese": "Set: handle_chinese_chars puts a space on either side of these.",
    "accents": "Set: strip_accents removes these, after decomposition.",
    "whitespace": "Set: ends a word; ByteLevel's \\s; what a special token strips.",
    "punctuation": "Set: each of these is a word of its own.",
    "letters": "Set: ByteLevel's \\p{L}.",
    "numbers": "Set: ByteLevel's \\p{N}.",
    "word_characters": "Set: beside one of these a special token is no single word.",
    "combining_ranks": "Ranks: marks in a row are sorted by these, stably; 0 is no mark.",
    "decompositions": "Mapping: complete canonical decompositions; Hangul's are arithmetic.",
    "lowercase": "Mapping: lower case.",
}

_ORIGIN = (
    "Made by android_demo/toolchain/unicode_tables.py, which explains the encoding: do not edit."
)


def encode_number(value: int) -> str:
    """A number of at least 0."""
    groups = []
    while value >= 32:
        groups.append(_ALPHABET[value % 32 + 32])
        value //= 32
    return "".join(groups) + _ALPHABET[value]


def encode_set(points: Collection[int]) -> str:
    """A set of code points."""
    return encode_ranks(dict.fromkeys(points, 0), with_rank=False)


def encode_ranks(ranks: dict[int, int], *, with_rank: bool = True) -> str:
    """Code points with a number each, or without it."""
    numbers: list[int] = []
    end = 0
    for start, length, rank in _ranges(ranks):
        numbers += [start - end, length - 1]
        if with_rank:
            numbers.append(rank)
        end = start + length
    return "".join(map(encode_number, numbers))


def _ranges(ranks: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    """(start, length, rank) of neighbours of equal rank, ascending."""
    start, length = 0, 0
    for point in sorted(ranks):
        if length and point == start + length and ranks[point] == ranks[start]:
            length += 1
            continue
        if length:
            yield start, length, ranks[start]
        start, length = point, 1
    if length:
        yield start, length, ranks[start]


def encode_mapping(mapping: Mapping) -> str:
    """Code points with up to four others in place of each.

    Raises:
        ValueError: an entry has more.
    """
    numbers: list[int] = []
    before = 0
    last = [0] * _MOST_TARGETS
    for point, targets in sorted(mapping.items()):
        if len(targets) > _MOST_TARGETS:
            raise ValueError(f"U+{point:04X} becomes {len(targets)} characters")
        numbers += [point - before, len(targets)]
        for place, target in enumerate(targets):
            difference = target - last[place]
            numbers.append(2 * difference if difference >= 0 else -2 * difference - 1)
            last[place] = target
        before = point
    return "".join(map(encode_number, numbers))


def encoded(facts: UnicodeFacts) -> dict[str, str]:
    """Name → encoded table, in the order of the files."""
    tables = {}
    for name in _MEANINGS:
        value = getattr(facts, name)
        if name == "combining_ranks":
            tables[name] = encode_ranks(value)
        elif isinstance(value, dict):
            tables[name] = encode_mapping(value)
        else:
            tables[name] = encode_set(value)
    return tables


def kotlin(tables: dict[str, str], version: str) -> str:
    """UnicodeTables.kt."""
    body = "\n\n".join(
        f"    /** {_MEANINGS[name]} */\n"
        f'    const val {name.upper()}: String = """\n{_lines(table)}\n"""'
        for name, table in tables.items()
    )
    return (
        f"// {_ORIGIN}\n"
        "package dev.mobileexport.core\n\n"
        f"/** What Hugging Face's tokenizers {version} makes of each code point. */\n"
        f"internal object UnicodeTables {{\n{body}\n}}\n"
    )


def javascript(tables: dict[str, str], version: str) -> str:
    """unicode-tables.mjs."""
    body = "\n\n".join(
        f"/** {_MEANINGS[name]} */\nexport const {name.upper()} = `\n{_lines(table)}\n`;"
        for name, table in tables.items()
    )
    return (
        f"// {_ORIGIN}\n"
        f"// What Hugging Face's tokenizers {version} makes of each code point.\n\n{body}\n"
    )


def swift(tables: dict[str, str], version: str) -> str:
    """UnicodeTables.swift."""
    body = "\n\n".join(
        f"  /// {_MEANINGS[name]}\n"
        f'  static let {_camel(name)} = """\n{_lines(table, indent="    ")}\n    """'
        for name, table in tables.items()
    )
    return (
        f"// {_ORIGIN}\n\n"
        f"/// What Hugging Face's tokenizers {version} makes of each code point.\n"
        f"enum UnicodeTables {{\n{body}\n}}\n"
    )


Writer = Callable[[dict[str, str], str], str]

# Where each language's file stands, relative to android_demo/.
FILES: dict[str, Writer] = {
    "core/src/main/kotlin/dev/mobileexport/core/UnicodeTables.kt": kotlin,
    "web/unicode-tables.mjs": javascript,
    "ios/Sources/MobileExport/UnicodeTables.swift": swift,
}


def contents(facts: UnicodeFacts, version: str) -> dict[str, str]:
    """Path relative to android_demo/ → the file's text.

    Args:
        facts: what was probed.
        version: of the `tokenizers` that answered.
    """
    tables = encoded(facts)
    return {path: writer(tables, version) for path, writer in FILES.items()}


def write_tables(root: Path, facts: UnicodeFacts, version: str) -> list[Path]:
    """Write the files below a folder, android_demo/, and return their paths."""
    written = []
    for relative, text in contents(facts, version).items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
        written.append(path)
    return written


def _lines(table: str, indent: str = "") -> str:
    return "\n".join(indent + line for line in wrap(table, _LINE, break_on_hyphens=False))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
