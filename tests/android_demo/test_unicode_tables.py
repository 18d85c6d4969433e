"""The committed Unicode tables are what the installed `tokenizers` says, and say it readably."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers
import typer
from tokenizers import normalizers, pre_tokenizers
from typer.testing import CliRunner

from android_demo.toolchain import cli_tables, unicode_probe
from android_demo.toolchain.unicode_probe import HANGUL, UnexpectedAnswerError, UnicodeFacts, probe
from android_demo.toolchain.unicode_tables import (
    FILES,
    contents,
    encode_mapping,
    encode_number,
    encode_ranks,
    encode_set,
    encoded,
    write_tables,
)

_ROOT = Path(__file__).resolve().parents[2] / "android_demo"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture(scope="module")
def facts() -> UnicodeFacts:
    return probe()


def test_committed_files_are_what_the_generator_writes(facts: UnicodeFacts) -> None:
    for path, text in contents(facts, tokenizers.__version__).items():
        committed = (_ROOT / path).read_text(encoding="utf-8")
        assert committed == text, f"{path}: run python -m android_demo.toolchain unicode-tables"
        assert len(committed) < 60_000
        assert committed.isascii()


def test_files_are_written_where_each_language_looks(tmp_path: Path, facts: UnicodeFacts) -> None:
    written = write_tables(tmp_path, facts, "1.2.3")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == list(FILES)
    assert all("tokenizers 1.2.3" in path.read_text() for path in written)


def test_tables_decode_to_the_facts(facts: UnicodeFacts) -> None:
    """The decoder here is written from the encoding's description alone."""
    tables = encoded(facts)
    for name, table in tables.items():
        value = getattr(facts, name)
        if name == "combining_ranks":
            assert _decode_ranks(table) == value
        elif isinstance(value, dict):
            assert _decode_mapping(table) == value
        else:
            assert _decode_set(table) == value


def test_decoded_rules_normalize_as_tokenizers_does(facts: UnicodeFacts) -> None:
    """The facts are enough: rules built on them alone agree on text in which marks meet."""
    generator = random.Random(5)
    pool = [*facts.combining_ranks, *facts.decompositions, *facts.lowercase, *facts.accents]
    pool += [*facts.clean_dropped][:5000] + [*facts.whitespace] * 40 + [*HANGUL][::40]
    for flags in itertools.product((False, True), repeat=4):
        clean, chinese, strip, lower = flags
        normalizer = normalizers.BertNormalizer(
            clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower
        )
        for _ in range(400):
            text = "".join(chr(generator.choice(pool)) for _ in range(12))
            wanted = normalizer.normalize_str(text)
            assert _normalized(text, facts, flags) == wanted, ascii(text)


def test_words_are_cut_as_tokenizers_does(facts: UnicodeFacts) -> None:
    generator = random.Random(6)
    pool = [*facts.whitespace] * 20 + [*facts.punctuation] + [*facts.letters][:3000]
    splitter = pre_tokenizers.BertPreTokenizer()
    for _ in range(2000):
        text = "".join(chr(generator.choice(pool)) for _ in range(12))
        spaced = "".join(
            " " if ord(c) in facts.whitespace else f" {c} " if ord(c) in facts.punctuation else c
            for c in text
        )
        found = [word for word, _ in splitter.pre_tokenize_str(text)]
        assert found == [word for word in spaced.split(" ") if word]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "A"), (31, "f"), (32, "gB"), (1023, "_f"), (1024, "ggB")]
)
def test_numbers_are_written_in_groups_of_five_bits(number: int, text: str) -> None:
    assert encode_number(number) == text


def test_sets_ranks_and_mappings_come_back() -> None:
    assert _decode_set(encode_set({0, 1, 2, 5, 0x10FFFF})) == {0, 1, 2, 5, 0x10FFFF}
    assert encode_set([]) == ""
    ranks = {3: 1, 4: 2, 5: 2, 9: 1}
    assert _decode_ranks(encode_ranks(ranks)) == ranks
    mapping = {1: (5, 4, 3, 2), 2: (1,), 0x1F600: (0x10FFFF, 0)}
    assert _decode_mapping(encode_mapping(mapping)) == mapping


def test_a_mapping_to_five_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="U\\+0041 becomes 5 characters"):
        encode_mapping({0x41: (1, 2, 3, 4, 5)})


def test_marks_are_ranked_by_how_they_change_places(facts: UnicodeFacts) -> None:
    normalizer = normalizers.NFD()
    generator = random.Random(7)
    marks = sorted(facts.combining_ranks)
    for _ in range(20_000):
        first, second = generator.choice(marks), generator.choice(marks)
        swapped = normalizer.normalize_str(chr(first) + chr(second)) != chr(first) + chr(second)
        assert swapped == (facts.combining_ranks[first] > facts.combining_ranks[second])


def test_a_rule_that_tables_cannot_say_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a clean_text that turns a character into another one."""

    def odd(**_: bool) -> object:
        return lambda text: "?" if text == "\x01" else text

    monkeypatch.setattr(unicode_probe, "_bert", odd)
    with pytest.raises(UnexpectedAnswerError, match="clean_text makes '\\?'"):
        unicode_probe._clean()


def test_check_names_a_file_that_differs(
    facts: UnicodeFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unicode_probe, "probe", lambda: facts)
    monkeypatch.setattr(cli_tables, "_ROOT", tmp_path)
    app = typer.Typer()
    cli_tables.register(app)
    runner = CliRunner()
    assert runner.invoke(app, ["--check"]).exit_code == 1
    assert runner.invoke(app, []).exit_code == 0
    assert runner.invoke(app, ["--check"]).exit_code == 0
    swift = tmp_path / "ios/Sources/MobileExport/UnicodeTables.swift"
    swift.write_text(swift.read_text().replace("JBCA", "JBDA"))
    changed = runner.invoke(app, ["--check"])
    assert changed.exit_code == 1
    assert changed.output.split() == [*f"{swift.relative_to(tmp_path)} differs:".split(), *_ADVICE]


_ADVICE = ("run", "this", "command", "without", "--check")


def _numbers(table: str) -> Iterator[int]:
    value = shift = 0
    for character in table:
        group = _ALPHABET.index(character)
        value |= (group & 31) << shift
        shift += 5
        if group < 32:
            yield value
            value = shift = 0


def _decode_set(table: str) -> set[int]:
    numbers = _numbers(table)
    end = 0
    found: set[int] = set()
    for gap in numbers:
        start = end + gap
        end = start + next(numbers) + 1
        found.update(range(start, end))
    return found


def _decode_ranks(table: str) -> dict[int, int]:
    numbers = _numbers(table)
    end = 0
    found: dict[int, int] = {}
    for gap in numbers:
        start = end + gap
        end = start + next(numbers) + 1
        found.update(dict.fromkeys(range(start, end), next(numbers)))
    return found


def _decode_mapping(table: str) -> dict[int, tuple[int, ...]]:
    numbers = _numbers(table)
    key, last = 0, [0] * 4
    found: dict[int, tuple[int, ...]] = {}
    for gap in numbers:
        key += gap
        count = next(numbers)
        for place in range(count):
            sign = next(numbers)
            last[place] += -(sign + 1) // 2 if sign % 2 else sign // 2
        found[key] = tuple(last[:count])
    return found


def _normalized(text: str, facts: UnicodeFacts, flags: tuple[bool, ...]) -> str:
    clean, chinese, strip, lower = flags
    points = [ord(c) for c in text]
    if clean:
        points = [
            32 if p in facts.clean_spaces else p for p in points if p not in facts.clean_dropped
        ]
    if chinese:
        points = [q for p in points for q in ((32, p, 32) if p in facts.chinese else (p,))]
    if strip:
        points = [p for p in _decomposed(points, facts) if p not in facts.accents]
    if lower:
        points = [q for p in points for q in facts.lowercase.get(p, (p,))]
    return "".join(map(chr, points))


def _decomposed(points: list[int], facts: UnicodeFacts) -> list[int]:
    parts: list[int] = []
    for point in points:
        if point in HANGUL:
            index = point - HANGUL.start
            parts += [0x1100 + index // 588, 0x1161 + index % 588 // 28]
            parts += [0x11A7 + index % 28] if index % 28 else []
        else:
            parts += facts.decompositions.get(point, (point,))
    ranks = facts.combining_ranks
    ordered: list[int] = []
    for is_mark, group in itertools.groupby(parts, key=lambda p: p in ranks):
        run = list(group)
        ordered += sorted(run, key=lambda p: ranks[p]) if is_mark else run
    return ordered
