"""Texts that break tokenizers and models: our own versioned corpus, part of every golden set.

The texts stand in ``corpus.json``, escaped ASCII, each with a name and the reason why it is there.
Whoever changes one raises the version; bundles carry it, so that old and new figures are told
apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tokenizers import Tokenizer

from runtime.files import canonical_json
from runtime.manifest import TokenizerSpec


@dataclass(frozen=True, slots=True)
class AwkwardText:
    """One text.

    Attributes:
        name: unique, lower case with underscores.
        reason: one line, why it is there.
        text: may hold any code point, lone surrogates too.
    """

    name: str
    reason: str
    text: str


def _read() -> tuple[int, tuple[AwkwardText, ...]]:
    # Bytes: a lone surrogate is an escape in the file and nothing that UTF-8 would have to carry.
    value: dict[str, Any] = json.loads((files(__name__) / "corpus.json").read_bytes())
    texts = tuple(
        AwkwardText(row["name"], row["reason"], row["text"] * row.get("times", 1))
        for row in value["texts"]
    )
    return int(value["version"]), texts


AWKWARD_VERSION, AWKWARD_CORPUS = _read()
AWKWARD_TEXTS: dict[str, str] = {entry.name: entry.text for entry in AWKWARD_CORPUS}


def corpus_sha256() -> str:
    """Hex SHA-256 over names and texts in order; the reasons play no part."""
    rows = [[entry.name, entry.text] for entry in AWKWARD_CORPUS]
    return hashlib.sha256(canonical_json(rows, indent=None).encode()).hexdigest()


def edge_texts(
    tokenizer: Tokenizer, spec: TokenizerSpec, lengths: tuple[int, ...]
) -> dict[str, str]:
    """Texts whose ids number exactly n − 1, n and n + 1 for every sequence length n.

    Built by repeating a word that is one token, so that every length of an artifact is exercised.
    Beyond max_length the text is cut, which is the point of it.
    """
    word, joint = _one_token_word(tokenizer, spec)
    texts = {}
    for length in lengths:
        for ids in (length - 1, length, length + 1):
            if ids >= 3:
                texts[f"ids_{ids}"] = joint.join([word] * (ids - 2))
    return texts


# What byte-level BPE and SentencePiece write for a space.
_SPACES = "\u0120\u2581"


def _one_token_word(tokenizer: Tokenizer, spec: TokenizerSpec) -> tuple[str, str]:
    """The first plain word that is one token however often it stands there, and what joins them.

    In the order of ids; where no word will do, a letter without spaces.
    """
    vocab = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    tokens = [token.lstrip(_SPACES) for token, _ in vocab]
    unknown = tokenizer.token_to_id(spec.unk_token)
    for joint, found in ((" ", str.isalpha), ("", str.isprintable)):
        for token in tokens:
            if not (token and token.isascii() and found(token)):
                continue
            text = joint.join([token] * 5)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            if len(ids) == 5 and unknown not in ids:
                return token, joint
    return ".", " "
