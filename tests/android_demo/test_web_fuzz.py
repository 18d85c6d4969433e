"""The page's tokenizer, in the browser itself, against Hugging Face's: not one text may differ."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from android_demo.toolchain.browser import missing
from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.web import WEB, build_site
from export.families import families
from export.tokenizer_training import train_tokenizer
from runtime.tokenizer import TextTokenizer

from jvm_support import (
    TextMaker,
    awkward_texts,
    every_code_point,
    marks_and_parts,
    tokenizer_bundle,
)
from support import weather_rows
from web_support import visit

FAMILIES = families()
SEED = 11
WORDS = [text for text, _ in weather_rows()] + ["don't we'll I'M 12 naïve café 漢字 ΟΔΟΣ"] * 9

ENCODE = """async ([file, spec, texts]) => {
  const { TextTokenizer } = await import("/tokenizer.mjs");
  const tokenizer = new TextTokenizer(JSON.parse(file), JSON.parse(spec));
  return JSON.parse(texts).map((text) => {
    const { ids, truncated } = tokenizer.encode(text);
    return [ids, truncated];
  });
}"""

if (_reason := missing()) is not None:
    pytest.skip(_reason, allow_module_level=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page's modules in a browser; its bundle has no model, so the page itself refuses it."""
    folder = tmp_path_factory.mktemp("fuzz")
    tokenizer_bundle(folder / "b", _wordpiece(), FAMILIES["bert"], 64)
    try:
        site = build_site(folder / "b", folder / "site").folder
    except ToolUnavailableError as error:
        pytest.skip(str(error))
    with visit(site) as found:
        yield found.page


def _wordpiece(**flags: bool) -> Tokenizer:
    tokenizer = train_tokenizer(FAMILIES["bert"], WORDS, 400)
    tokenizer.normalizer = normalizers.BertNormalizer(**flags)
    return tokenizer


def _differing(
    page: Any, folder: Path, python: TextTokenizer, texts: Sequence[str], **spec: Any
) -> list[str]:
    """Texts whose ids or truncation are not Python's; `spec` changes the manifest."""
    manifest = json.loads((folder / "manifest.json").read_bytes())["tokenizer"] | spec
    file = (folder / manifest["file"]).read_text(encoding="utf-8")
    # As JSON: a lone surrogate does not survive Playwright's own UTF-8.
    found = page.evaluate(ENCODE, [file, json.dumps(manifest), json.dumps(texts)])
    pairs = zip(texts, found, strict=True)
    return [text for text, (ids, cut) in pairs if (ids, cut) != python.encode(text)]


@pytest.mark.parametrize(
    "flags",
    [{}, {"lowercase": False}, {"strip_accents": False}, {"clean_text": False},
     {"handle_chinese_chars": False}, {"lowercase": False, "strip_accents": True}],
    ids=str,
)  # fmt: skip
def test_wordpiece(page: Any, tmp_path: Path, flags: dict[str, bool]) -> None:
    tokenizer = _wordpiece(**flags)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["bert"], 48)
    texts = TextMaker(SEED, list(tokenizer.get_vocab())).texts(3000) + awkward_texts()
    assert _differing(page, tmp_path / "b", python, texts) == []


def test_wordpiece_on_every_code_point(page: Any, tmp_path: Path) -> None:
    tokenizer = _wordpiece()
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["bert"], 1024)
    assert _differing(page, tmp_path / "b", python, every_code_point()) == []


@pytest.mark.parametrize("prefix_space", [False, True])
def test_byte_level_bpe(page: Any, tmp_path: Path, prefix_space: bool) -> None:
    tokenizer = train_tokenizer(FAMILIES["roberta"], WORDS, 700)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["roberta"], 96)
    words = ["'s", "'LL", "n't", "١٢", "²", *" ".join(WORDS).split()]
    texts = TextMaker(SEED, words).texts(3000) + awkward_texts() + every_code_point(8)[::16]
    assert _differing(page, tmp_path / "b", python, texts) == []


def test_added_tokens_and_truncation(page: Any, tmp_path: Path) -> None:
    tokenizer = _wordpiece()
    tokenizer.add_tokens(
        [
            AddedToken("Garden Party", normalized=True),
            AddedToken("lone", single_word=True),
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, special=True),
            AddedToken("<right>>", normalized=False),
            AddedToken("a.b", normalized=False),
        ]
    )
    added = ["garden party", "GÁRDEN PARTY", "lone", "alone", "lone!", "<left>", "<right>", "<left"]
    added += ["<right>>", " \t<left> ", "\u3000<right>\u00a0 ", "Lone", "lone_", "a.b", "axb"]
    added.append("𝐀lone")
    maker = TextMaker(SEED, [*added, *added, *WORDS[:5]])
    for max_length in (2, 5, 64):
        folder = tmp_path / str(max_length)
        python = tokenizer_bundle(folder, tokenizer, FAMILIES["bert"], max_length)
        assert _differing(page, folder, python, maker.texts(1500)) == []


def test_marks_are_put_in_canonical_order(page: Any, tmp_path: Path) -> None:
    """With a vocabulary that has every mark (unknown words would hide their order)."""
    tokenizer = _wordpiece()
    pieces = [*marks_and_parts(), "a", "e", "o"]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{c}" for c in pieces)]
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocab))}
    tokenizer.model = models.WordPiece(ids, unk_token="[UNK]")
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["bert"], 64)
    choose = random.Random(SEED).choices
    texts = ["".join(choose(pieces, k=6)) for _ in range(5000)]
    assert _differing(page, tmp_path / "b", python, texts) == []

    # The same page, but it leaves marks in the order in which they came.
    source = (WEB / "normalizer.mjs").read_text(encoding="utf-8")
    faulty = source.replace("combiningRank(a) - unicode.combiningRank(b)", "combiningRank(a) * 0")
    assert faulty != source
    other = page.context.browser.new_page()
    other.route(
        "**/normalizer.mjs",
        lambda route: route.fulfill(body=faulty, content_type="text/javascript"),
    )
    other.goto(page.url)
    assert _differing(other, tmp_path / "b", python, texts)
    other.close()


def test_planted_faults_are_caught(page: Any, tmp_path: Path) -> None:
    tokenizer = _wordpiece()
    python = tokenizer_bundle(tmp_path / "b", tokenizer, FAMILIES["bert"], 48)
    texts = TextMaker(SEED, list(tokenizer.get_vocab())).texts(500)
    assert _differing(page, tmp_path / "b", python, texts) == []
    for fault in ({"lowercase": False}, {"strip_accents": False}, {"lone_surrogates": "a"}):
        assert _differing(page, tmp_path / "b", python, texts, **fault), fault
    assert _differing(page, tmp_path / "b", python, ["word " * 99], max_length=47)
