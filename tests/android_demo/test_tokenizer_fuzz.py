"""The app's tokenizer against Hugging Face's, on all of Unicode: not one text may differ."""

from __future__ import annotations

import csv
import itertools
import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from android_demo.toolchain.jvm import JvmProgram
from android_demo.toolchain.kotlin import KotlinTools, Module, compile_module
from android_demo.toolchain.minimise import minimise
from android_demo.toolchain.projects import CORE
from export.families import families
from export.tokenizer_training import train_tokenizer
from runtime.tokenizer import TextTokenizer

from jvm_support import (
    TextMaker,
    alphabet,
    awkward_texts,
    every_code_point,
    marks_and_parts,
    tokenizer_bundle,
)
from support import ROOT, weather_rows

FAMILIES = families()
SHARED = ROOT.parent / "shared" / "data"
HARD_TEXTS = ROOT / "android_demo" / "core" / "src" / "test" / "resources" / "hard_texts.json"
SEED = 6
# lowercase, strip_accents, clean_text, handle_chinese_chars
FLAGS = list(itertools.product((True, False), repeat=4))
# As uncased checkpoints have them, and lower-casing alone.
ALL_OF_UNICODE = [(True, True, True, True), (True, False, False, False)]


def _wordpiece(vocab: Sequence[str], flags: tuple[bool, ...]) -> Tokenizer:
    lowercase, strip_accents, clean_text, chinese = flags
    ids = {token: place for place, token in enumerate(dict.fromkeys(vocab))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=clean_text,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    return tokenizer


@pytest.fixture(scope="module")
def wide_vocabulary() -> list[str]:
    """Characters of every kind, alone and inside words: what is cut wrongly shows in the ids."""
    letters = alphabet(random.Random(SEED), 40) + marks_and_parts()
    letters += [chr(point) for point in range(0x21, 0x180)] + list("漢字ß가각ᄀ한국")
    # Of the others no token can be made: they are gone before the vocabulary is asked.
    letters = sorted({c for c in letters if c.isprintable() and not c.isspace()})
    words = sorted({word for text, _ in weather_rows() for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *letters, *(f"##{c}" for c in letters), *words]


def _differing(
    jvm: JvmProgram, bundle: Path, python: TextTokenizer, texts: Sequence[str]
) -> list[str]:
    found = jvm.encode(bundle, texts)
    pairs = zip(texts, found, strict=True)
    return [text for text, encoded in pairs if encoded != python.encode(text)]


def _check(jvm: JvmProgram, bundle: Path, python: TextTokenizer, texts: Sequence[str]) -> None:
    """Fails with the smallest text that differs."""
    differing = _differing(jvm, bundle, python, texts)
    if differing:
        smallest = _smallest(jvm, bundle, python, differing[0])
        pytest.fail(
            f"{len(differing)} of {len(texts)} texts differ; the first one at its smallest: "
            f"{json.dumps(smallest)}: JVM {jvm.encode(bundle, [smallest])[0]}, "
            f"Hugging Face {python.encode(smallest)}"
        )


def _smallest(jvm: JvmProgram, bundle: Path, python: TextTokenizer, text: str) -> str:
    def differs(candidates: Sequence[str]) -> list[bool]:
        # What JSON makes of two halves side by side is another text.
        texts = [json.loads(json.dumps(candidate)) for candidate in candidates]
        wrong = set(_differing(jvm, bundle, python, texts))
        return [candidate in wrong for candidate in candidates]

    return minimise(text, differs)


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: "".join("01"[flag] for flag in flags))
def test_wordpiece_with_every_combination_of_flags(
    jvm: JvmProgram,
    tmp_path: Path,
    wide_vocabulary: list[str],
    flags: tuple[bool, ...],
) -> None:
    tokenizer = _wordpiece(wide_vocabulary, flags)
    # Long enough for most texts, and too short for some.
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["distilbert"], 96)
    texts = TextMaker(SEED + FLAGS.index(flags), wide_vocabulary).texts(2000)
    _check(jvm, tmp_path / "b", python, [*texts, *awkward_texts(), *_hard_texts()])


@pytest.mark.parametrize(
    "flags", ALL_OF_UNICODE, ids=lambda flags: "".join("01"[flag] for flag in flags)
)
def test_wordpiece_on_every_code_point(
    jvm: JvmProgram,
    tmp_path: Path,
    wide_vocabulary: list[str],
    flags: tuple[bool, ...],
) -> None:
    tokenizer = _wordpiece(wide_vocabulary, flags)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["distilbert"], 1024)
    _check(jvm, tmp_path / "b", python, every_code_point())


def test_marks_are_put_in_canonical_order_and_a_core_that_does_not_is_caught(
    jvm: JvmProgram,
    tools: KotlinTools,
    tmp_path: Path,
    wide_vocabulary: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = _wordpiece(wide_vocabulary, FLAGS[0])
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["distilbert"], 96)
    texts = TextMaker(SEED, wide_vocabulary).marks(3000)
    _check(jvm, tmp_path / "b", python, texts)
    sources = Path(shutil.copytree(CORE, tmp_path / "core"))
    (normalizer,) = sources.rglob("Normalizer.kt")
    right = normalizer.read_text(encoding="utf-8")
    wrong = right.replace("        sortMarks(result)\n", "")
    assert wrong != right
    normalizer.write_text(wrong, encoding="utf-8")
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path / "cache"))
    mutant = compile_module(Module("core-mutant", (sources,)), tools)
    own, _, *libraries = jvm.classpath
    unordered = JvmProgram(tools, (own, mutant, *libraries), jvm.library)
    assert len(_differing(unordered, tmp_path / "b", python, texts)) > 10


@pytest.mark.parametrize("max_length", [2, 3, 8])
def test_truncation(jvm: JvmProgram, tmp_path: Path, max_length: int) -> None:
    tokenizer = train_tokenizer(FAMILIES["bert"], [text for text, _ in weather_rows()], 300)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["bert"], max_length)
    texts = TextMaker(SEED, list(tokenizer.get_vocab())).texts(500)
    assert {python.encode(text)[1] for text in texts} == {True, False}
    _check(jvm, tmp_path / "b", python, texts)


def test_added_tokens(jvm: JvmProgram, tmp_path: Path, wide_vocabulary: list[str]) -> None:
    tokenizer = _wordpiece(wide_vocabulary, FLAGS[0])
    tokenizer.add_tokens(
        [
            AddedToken("Garden Party", normalized=True),
            AddedToken("lone", single_word=True),
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, special=True),
            AddedToken("<right>>", normalized=False),
        ]
    )
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["distilbert"], 64)
    added = ["garden party", "GÁRDEN PARTY", "lone", "alone", "lone!", "<left>", "<right>", "<left"]
    added += ["<right>>", " \t<left> ", "\u3000<right>\u00a0 ", "ＬＯＮＥ", "Lone", "lone_", "lone͡"]
    maker = TextMaker(SEED, [*added, *added, *wide_vocabulary[-30:]])
    _check(jvm, tmp_path / "b", python, maker.texts(3000))


@pytest.mark.parametrize("prefix_space", [False, True])
def test_byte_level_bpe(jvm: JvmProgram, tmp_path: Path, prefix_space: bool) -> None:
    texts = [text for text, _ in weather_rows()] + [
        "don't we'll I'M 12 345 …",
        "naïve café 漢字",
    ] * 9
    tokenizer = train_tokenizer(FAMILIES["roberta"], texts, 700)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["roberta"], 96)
    words = [word for text in texts for word in text.split()]
    made = TextMaker(SEED, ["'s", "'LL", "n't", "١٢", "²", *words]).texts(5000)
    _check(jvm, tmp_path / "b", python, [*made, *awkward_texts(), *_hard_texts()])


def test_byte_level_bpe_on_every_code_point(jvm: JvmProgram, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(FAMILIES["roberta"], ["a b ab"] * 5, 300)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["roberta"], 1024)
    _check(jvm, tmp_path / "b", python, every_code_point())


def test_real_texts_with_berts_own_vocabulary(jvm: JvmProgram, tmp_path: Path) -> None:
    file = SHARED / "vocab" / "bert-base-uncased-vocab.txt"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    vocab = file.read_text(encoding="utf-8").splitlines()
    python = tokenizer_bundle(
        tmp_path / "b", _wordpiece(vocab, FLAGS[0]), FAMILIES["distilbert"], 128
    )
    texts = []
    for path in sorted(SHARED.glob("*/test.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            texts += [row[0] for row in itertools.islice(csv.reader(stream), 1, 3000)]
    assert len(texts) > 1000
    _check(jvm, tmp_path / "b", python, [*texts, *TextMaker(SEED, vocab).texts(4000)])


@pytest.mark.parametrize("fault", [0, 1, 3], ids=["a capital", "an accent", "a Chinese character"])
def test_a_tokenizer_with_another_flag_is_caught(
    jvm: JvmProgram, tmp_path: Path, wide_vocabulary: list[str], fault: int
) -> None:
    right = FLAGS[0]
    wrong = tuple(flag != (place == fault) for place, flag in enumerate(right))
    python = tokenizer_bundle(
        tmp_path / "right", _wordpiece(wide_vocabulary, right), FAMILIES["distilbert"], 64
    )
    bundle = tmp_path / "wrong"
    tokenizer_bundle(bundle, _wordpiece(wide_vocabulary, wrong), FAMILIES["distilbert"], 64)
    text = ["it is GOLD", "the caf\u00e9, they say", "", "our \u6f22\u5b57 street"][fault]
    assert _differing(jvm, bundle, python, ["all as it was", text]) == [text]
    # And it is caught by the texts that are made, too.
    assert _differing(jvm, bundle, python, TextMaker(SEED, wide_vocabulary).texts(300))


def test_a_text_that_differs_is_shown_at_its_smallest(
    jvm: JvmProgram, tmp_path: Path, wide_vocabulary: list[str]
) -> None:
    python = tokenizer_bundle(
        tmp_path / "right", _wordpiece(wide_vocabulary, FLAGS[0]), FAMILIES["distilbert"], 64
    )
    bundle = tmp_path / "wrong"
    keeps_accents = _wordpiece(wide_vocabulary, (True, False, True, True))
    tokenizer_bundle(bundle, keeps_accents, FAMILIES["distilbert"], 64)
    with pytest.raises(pytest.fail.Exception) as caught:
        _check(jvm, bundle, python, ["as it was", "the caf\u00e9 is wet"])
    assert re.search(
        r'1 of 2 texts differ.*smallest: "\\u00e9": JVM .*, Hugging Face', str(caught.value)
    )


def test_the_minimiser_keeps_what_matters_and_nothing_else() -> None:
    asked = 0

    def differs(texts: Sequence[str]) -> list[bool]:
        nonlocal asked
        asked += 1
        return ["x" in text and "\ud800" in text and len(text) >= 4 for text in texts]

    smallest = minimise("many words x and\n more \ud800 after", differs)
    assert sorted(smallest) == ["a", "a", "x", "\ud800"]
    assert asked < 100
    assert minimise("no such thing", differs) == "no such thing"
    assert minimise("", lambda texts: [True for _ in texts]) == ""


def _hard_texts() -> list[str]:
    if not HARD_TEXTS.is_file():
        return []
    value = json.loads(HARD_TEXTS.read_bytes())
    return [entry if isinstance(entry, str) else entry["text"] for entry in value]
