from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from export.awkward import AWKWARD_TEXTS, edge_texts
from export.families import families
from export.tokenizer_training import train_tokenizer, train_wordpiece
from export.tokenizers import describe_tokenizer, write_tokenizer
from runtime.errors import UserError
from runtime.manifest import TokenizerSpec
from runtime.tokenizer import TextTokenizer

TEXTS = ["the sky is bright today", "our street isn't wet", "frozen over again", "Café, 5 µm?"] * 5
FAMILIES = families()
# One family of each kind, and both Unigram frames.
KINDS = ("bert", "roberta", "albert", "xlnet")
SURROGATE = re.compile("[\ud800-\udfff]")


def _made(name: str) -> tuple[Tokenizer, TokenizerSpec]:
    tokenizer = train_tokenizer(FAMILIES[name], TEXTS, 300)
    return tokenizer, describe_tokenizer(tokenizer, 32, FAMILIES[name])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_manifest_describes_every_family(name: str) -> None:
    _, spec = _made(name)
    family = FAMILIES[name]
    assert spec.type == family.tokenizers[0]
    is_wordpiece = spec.type == "WordPiece"
    assert (spec.vocab == "vocab.txt") == is_wordpiece
    assert (spec.lowercase, spec.strip_accents) == ((True, True) if is_wordpiece else (None, None))
    assert spec.pad_side == ("left" if name == "xlnet" else "right")
    assert spec.cls_position == ("last" if name == "xlnet" else "first")
    assert spec.token_types == ("none" if name == "distilbert" else "in_graph")
    assert spec.mask_token == family.special.mask
    assert spec.pad_id == family.special.order.index(family.special.pad)


@pytest.mark.parametrize("name", KINDS)
def test_files_read_back_to_the_same_ids(name: str, tmp_path: Path) -> None:
    tokenizer, spec = _made(name)
    tokenizer.enable_padding(length=99)
    names = write_tokenizer(tokenizer, spec, tmp_path)
    assert set(names) == {p.name for p in tmp_path.iterdir()}
    again = TextTokenizer(tmp_path / spec.file, spec)
    tokenizer.no_padding()
    tokenizer.enable_truncation(32)
    for text in (*TEXTS, "Caf\u00e9 ISN'T open", ""):
        assert again.ids(text) == tokenizer.encode(text).ids


def test_vocab_txt_has_a_token_on_every_line(tmp_path: Path) -> None:
    tokenizer, spec = _made("bert")
    write_tokenizer(tokenizer, spec, tmp_path)
    vocab = (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    assert vocab[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(vocab) == spec.vocab_size + 1


@pytest.mark.parametrize("name", KINDS)
def test_transformers_own_tokenizer_gives_the_same_ids(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, spec = _made(name)
    write_tokenizer(tokenizer, spec, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    kind = json.loads((tmp_path / "tokenizer_config.json").read_bytes())["tokenizer_class"]
    assert type(theirs).__name__ == kind
    assert theirs.padding_side == spec.pad_side
    ours = TextTokenizer(tmp_path / spec.file, spec)
    for label, text in AWKWARD_TEXTS.items():
        clean = SURROGATE.sub(spec.lone_surrogates, text)
        expected = theirs(clean, truncation=True, max_length=32)["input_ids"]
        assert ours.ids(text) == expected, label
    long = "sky Ünder 5 \U0001f600\u200d " * 700
    assert len(long) > 10_000
    assert ours.ids(long) == theirs(long, truncation=True, max_length=32)["input_ids"]


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_text_keeps_its_frame(name: str, tmp_path: Path) -> None:
    tokenizer, spec = _made(name)
    write_tokenizer(tokenizer, spec, tmp_path)
    reader = TextTokenizer(tmp_path / spec.file, spec)
    for text in ("", "sky " * 500, "\ud83d"):
        tokens = reader.tokens(reader.ids(text))
        assert len(tokens) <= 32
        if spec.cls_position == "first":
            assert (tokens[0], tokens[-1]) == (spec.cls_token, spec.sep_token)
        else:
            assert tokens[-2:] == [spec.sep_token, spec.cls_token]


@pytest.mark.parametrize("name", KINDS)
def test_edge_texts_have_exactly_these_ids(name: str, tmp_path: Path) -> None:
    tokenizer, spec = _made(name)
    write_tokenizer(tokenizer, spec, tmp_path)
    reader = TextTokenizer(tmp_path / spec.file, spec)
    texts = edge_texts(tokenizer, spec, (16, 32))
    assert set(texts) == {f"ids_{n}" for n in (15, 16, 17, 31, 32, 33)}
    for label, text in texts.items():
        wanted = int(label.removeprefix("ids_"))
        ids, cut = reader.encode(text)
        assert len(ids) == min(wanted, 32)
        assert cut == (wanted > 32)


@pytest.mark.parametrize(
    ("reader", "written"), [("bert", "roberta"), ("roberta", "bert"), ("xlnet", "roberta")]
)
def test_another_familys_kind_is_refused_by_name(reader: str, written: str) -> None:
    tokenizer = train_tokenizer(FAMILIES[written], TEXTS, 300)
    kind = FAMILIES[written].tokenizers[0]
    with pytest.raises(UserError, match=f"the tokenizer is {kind}") as caught:
        describe_tokenizer(tokenizer, 32, FAMILIES[reader])
    assert FAMILIES[reader].title in caught.value.why


def test_the_same_kind_with_another_frame_is_refused() -> None:
    tokenizer = train_tokenizer(FAMILIES["albert"], TEXTS, 300)
    with pytest.raises(UserError, match=r"has no <cls>|has no <sep>"):
        describe_tokenizer(tokenizer, 32, FAMILIES["xlnet"])
    bare = train_wordpiece(TEXTS, 120)
    bare.post_processor = None  # type: ignore[assignment]
    with pytest.raises(UserError, match="frames a text with nothing"):
        describe_tokenizer(bare, 32, FAMILIES["bert"])


def test_what_only_looks_like_the_kind_is_refused() -> None:
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UserError, match="does not split words"):
        describe_tokenizer(plain, 32, FAMILIES["roberta"])
    raw = train_wordpiece(TEXTS, 120)
    raw.normalizer = None  # type: ignore[assignment]
    with pytest.raises(UserError, match="without BERT's normalization"):
        describe_tokenizer(raw, 32, FAMILIES["bert"])
