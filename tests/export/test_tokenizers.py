from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from export.awkward import AWKWARD_TEXTS, edge_texts
from export.tokenizers import describe_tokenizer, train_wordpiece, write_tokenizer
from runtime.errors import UserError
from runtime.tokenizer import TextTokenizer

TEXTS = ["the sky is bright today", "our street isn't wet", "frozen over again"] * 5


def test_training_is_repeatable() -> None:
    assert train_wordpiece(TEXTS, 120).to_str() == train_wordpiece(TEXTS, 120).to_str()


def test_files_read_back_to_the_same_ids(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(TEXTS, 120)
    tokenizer.enable_padding(length=99)
    spec = describe_tokenizer(tokenizer, 32)
    assert (spec.pad_id, spec.lowercase, spec.strip_accents) == (0, True, True)
    names = write_tokenizer(tokenizer, spec, tmp_path)
    assert set(names) == {p.name for p in tmp_path.iterdir()}
    again = TextTokenizer(tmp_path / spec.file, spec)
    tokenizer.no_padding()
    tokenizer.enable_truncation(32)
    for text in (*TEXTS, "Caf\u00e9 ISN'T open", ""):
        assert again.ids(text) == tokenizer.encode(text).ids
    vocab = (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    assert vocab[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(vocab) == spec.vocab_size + 1


def test_transformers_reads_the_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_wordpiece(TEXTS, 120)
    spec = describe_tokenizer(tokenizer, 32)
    write_tokenizer(tokenizer, spec, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in AWKWARD_TEXTS.values():
        if not any("\ud800" <= c <= "\udfff" for c in text):
            expected = TextTokenizer(tmp_path / spec.file, spec).ids(text)
            assert again(text, truncation=True, max_length=32)["input_ids"] == expected


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(UserError, match="WordPiece only"):
        describe_tokenizer(Tokenizer(BPE()), 32)
    gaps = train_wordpiece(TEXTS, 120)
    gaps.normalizer = None  # type: ignore[assignment]
    with pytest.raises(UserError, match="normalizer None"):
        describe_tokenizer(gaps, 32)


def test_edge_texts_have_exactly_these_ids(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(TEXTS, 120)
    spec = describe_tokenizer(tokenizer, 32)
    write_tokenizer(tokenizer, spec, tmp_path)
    reader = TextTokenizer(tmp_path / spec.file, spec)
    texts = edge_texts(tokenizer, spec, (16, 32))
    assert set(texts) == {f"ids_{n}" for n in (15, 16, 17, 31, 32, 33)}
    for name, text in texts.items():
        wanted = int(name.removeprefix("ids_"))
        ids, cut = reader.encode(text)
        assert len(ids) == min(wanted, 32)
        assert cut == (wanted > 32)
