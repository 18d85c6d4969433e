"""Tokenizers on the export side: train one, describe one for the manifest, write its files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from runtime.errors import UserError
from runtime.files import canonical_json
from runtime.manifest import TokenizerSpec

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCAB_FILE = "vocab.txt"

# BERT's special tokens in the order that gives [PAD] id 0.
_MOST_LETTERS = 1000
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train an uncased BERT-style WordPiece tokenizer; the same texts give the same vocabulary.

    The trainer numbers the letters inside words (``##a``) in the order of a hash table that differs
    from run to run, and ties between merges follow those numbers. Handing it these letters first,
    sorted, as if they were special tokens, fixes both.

    Args:
        texts: training texts.
        vocab_size: most tokens, special ones included.
    """
    texts = list(texts)
    scratch = _untrained({})
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL, *(f"##{letter}" for letter in _letters(texts))],
        limit_alphabet=_MOST_LETTERS,
        show_progress=False,
    )
    scratch.train_from_iterator(texts, trainer)
    tokenizer = _untrained(scratch.get_vocab(with_added_tokens=True))
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _untrained(vocab: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106 - not a password
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _letters(texts: list[str]) -> list[str]:
    """The commonest characters after normalization, at most `_MOST_LETTERS`, sorted."""
    normalizer = BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    common = sorted(counts, key=lambda letter: (-counts[letter], letter))[:_MOST_LETTERS]
    return sorted(letter for letter in common if not letter.isspace())


def describe_tokenizer(tokenizer: Tokenizer, max_length: int) -> TokenizerSpec:
    """What a reader without Hugging Face's packages needs in order to rebuild the tokenizer.

    Raises:
        UserError: not an uncased or cased BERT WordPiece tokenizer, or ids with gaps.
    """
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    model, normalizer = value["model"], value["normalizer"] or {}
    if model["type"] != "WordPiece" or normalizer.get("type") != "BertNormalizer":
        raise UserError(
            f"the tokenizer is {model['type']} with the normalizer {normalizer.get('type')}",
            why="the bundle can describe BERT's WordPiece only",
            todo="use the tokenizer that the DistilBERT checkpoint was trained with",
        )
    if (value["pre_tokenizer"] or {}).get("type") != "BertPreTokenizer":
        raise UserError("the tokenizer does not split words as BERT does")
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if sorted(tokenizer.get_vocab(with_added_tokens=True).values()) != list(range(size)):
        raise UserError(
            "the tokenizer's ids have gaps", why="vocab.txt needs a token on every line"
        )
    for token in ("[PAD]", "[CLS]", "[SEP]", model["unk_token"]):
        if tokenizer.token_to_id(token) is None:
            raise UserError(f"the tokenizer has no {token}")
    lowercase = bool(normalizer["lowercase"])
    strip = normalizer["strip_accents"]
    return TokenizerSpec(
        type="WordPiece",
        file=TOKENIZER_FILE,
        vocab=VOCAB_FILE,
        vocab_size=size,
        max_length=max_length,
        pad_id=int(tokenizer.get_vocab()["[PAD]"]),
        pad_side="right",
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        unk_token=model["unk_token"],
        lowercase=lowercase,
        # null means "as lower-casing does"; a reader should not have to know that.
        strip_accents=lowercase if strip is None else bool(strip),
        clean_text=bool(normalizer["clean_text"]),
        handle_chinese_chars=bool(normalizer["handle_chinese_chars"]),
    )


def write_tokenizer(tokenizer: Tokenizer, spec: TokenizerSpec, folder: Path) -> tuple[str, ...]:
    """Write tokenizer.json, tokenizer_config.json and vocab.txt; returns their names.

    Padding and truncation are left out of tokenizer.json: they are the session's business.
    """
    clean = Tokenizer.from_str(tokenizer.to_str())
    clean.no_padding()
    clean.no_truncation()
    (folder / TOKENIZER_FILE).write_text(clean.to_str(pretty=True) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": spec.lowercase,
        "strip_accents": spec.strip_accents,
        "tokenize_chinese_chars": spec.handle_chinese_chars,
        "model_max_length": spec.max_length,
        "pad_token": "[PAD]",
        "unk_token": spec.unk_token,
        "cls_token": spec.cls_token,
        "sep_token": spec.sep_token,
        "mask_token": "[MASK]",
    }
    (folder / TOKENIZER_CONFIG).write_text(canonical_json(config), encoding="utf-8")
    by_id = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    (folder / VOCAB_FILE).write_text(
        "".join(f"{token}\n" for token, _ in by_id), encoding="utf-8", newline="\n"
    )
    return TOKENIZER_FILE, TOKENIZER_CONFIG, VOCAB_FILE
