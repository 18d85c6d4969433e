"""Tokenizers on the export side: describe one for the manifest, write its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tokenizers import Tokenizer

from runtime.errors import UserError
from runtime.files import canonical_json
from runtime.manifest import TokenizerSpec

if TYPE_CHECKING:
    from export.families import Family

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCAB_FILE = "vocab.txt"

# How each kind cuts a text into words before the model sees it.
_SPLITTERS = {"WordPiece": "BertPreTokenizer", "BPE": "ByteLevel", "Unigram": "Metaspace"}
_AS_PEOPLE_SAY = {
    "WordPiece": "BERT's WordPiece",
    "BPE": "byte-level BPE",
    "Unigram": "SentencePiece Unigram",
}


def describe_tokenizer(tokenizer: Tokenizer, max_length: int, family: Family) -> TokenizerSpec:
    """What the manifest says of a tokenizer.

    For WordPiece that is all that a reader without Hugging Face's packages needs in order to
    rebuild it.

    Args:
        tokenizer: the checkpoint's.
        max_length: longest sequence in ids.
        family: of the model that reads the ids.

    Raises:
        UserError: of another kind than the family's, without its special tokens or with them in
            other places, or ids with gaps.
    """
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    check_kind(value, family)
    kind = value["model"]["type"]
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if sorted(tokenizer.get_vocab(with_added_tokens=True).values()) != list(range(size)):
        raise UserError("the tokenizer's ids have gaps", why="every id needs a token")
    special = family.special
    for token in (special.pad, special.cls, special.sep, special.unk):
        if tokenizer.token_to_id(token) is None:
            raise UserError(
                f"the tokenizer has no {token}", why=f"{family.title} models were trained with it"
            )
    _check_frame(tokenizer, family)
    mask = special.mask if tokenizer.token_to_id(special.mask) is not None else None
    is_wordpiece = kind == "WordPiece"
    flags = _bert_flags(value["normalizer"]) if is_wordpiece else dict.fromkeys(_FLAGS)
    return TokenizerSpec(
        type=kind,
        file=TOKENIZER_FILE,
        vocab=VOCAB_FILE if is_wordpiece else None,
        vocab_size=size,
        max_length=max_length,
        pad_id=int(tokenizer.get_vocab()[special.pad]),
        pad_side=family.pad_side,
        pad_token=special.pad,
        cls_token=special.cls,
        sep_token=special.sep,
        unk_token=special.unk,
        mask_token=mask,
        cls_position=_cls_position(family),
        token_types="in_graph" if family.has_token_types else "none",
        **flags,
    )


def check_kind(value: dict[str, Any], family: Family) -> None:
    """Whether a parsed tokenizer.json is of a kind that the family's checkpoints have.

    Raises:
        UserError: it is not.
    """
    # Files of older releases do not name the model's type.
    kind = (value.get("model") or {}).get("type") or "of an unnamed type"
    if kind not in family.tokenizers:
        wanted = " or ".join(_AS_PEOPLE_SAY[name] for name in family.tokenizers)
        raise UserError(
            f"the tokenizer is {kind}",
            why=f"{family.title} reads ids of {wanted}",
            todo="use the tokenizer that the checkpoint was trained with",
        )
    if _SPLITTERS[kind] not in _types(value.get("pre_tokenizer")):
        raise UserError(
            f"the tokenizer is {kind} but does not split words as {_AS_PEOPLE_SAY[kind]} does",
            why=f"its pre-tokenizer is not {_SPLITTERS[kind]}",
        )
    if kind == "WordPiece" and (value.get("normalizer") or {}).get("type") != "BertNormalizer":
        raise UserError(
            "the tokenizer is WordPiece without BERT's normalization",
            why="the bundle describes that normalization for apps that have no tokenizer library",
        )


def _types(part: dict[str, Any] | None) -> set[str]:
    """Type names of a pre-tokenizer, of its parts if it is a sequence."""
    if part is None:
        return set()
    return {part.get("type", "")}.union(*map(_types, part.get("pretokenizers", ())))


def _cls_position(family: Family) -> Literal["first", "last"]:
    return "first" if family.pooled_position == 0 else "last"


def _check_frame(tokenizer: Tokenizer, family: Family) -> None:
    """Whether special tokens stand where the model was trained to find them."""
    cls, sep = family.special.cls, family.special.sep
    bare = Tokenizer.from_str(tokenizer.to_str())
    bare.no_padding()
    bare.no_truncation()
    found = bare.encode("").tokens
    wanted = [cls, sep] if _cls_position(family) == "first" else [sep, cls]
    if found != wanted:
        raise UserError(
            f"the tokenizer frames a text with {' '.join(found) or 'nothing'}",
            why=f"{family.title} needs {' '.join(wanted)}",
            todo="use the tokenizer that the checkpoint was trained with",
        )


_FLAGS = ("lowercase", "strip_accents", "clean_text", "handle_chinese_chars")


def _bert_flags(normalizer: dict[str, Any]) -> dict[str, bool | None]:
    flags = {name: normalizer[name] for name in _FLAGS}
    if flags["strip_accents"] is None:
        # null means "as lower-casing does"; a reader should not have to know that.
        flags["strip_accents"] = flags["lowercase"]
    return {name: bool(value) for name, value in flags.items()}


def write_tokenizer(tokenizer: Tokenizer, spec: TokenizerSpec, folder: Path) -> tuple[str, ...]:
    """Write tokenizer.json, tokenizer_config.json and for WordPiece vocab.txt.

    Padding and truncation are left out of tokenizer.json: they are the session's business.

    Returns:
        The names of the files.
    """
    clean = Tokenizer.from_str(tokenizer.to_str())
    clean.no_padding()
    clean.no_truncation()
    text = clean.to_str(pretty=True)
    (folder / TOKENIZER_FILE).write_text(text + "\n", encoding="utf-8")
    config = _config(spec, json.loads(text))
    (folder / TOKENIZER_CONFIG).write_text(canonical_json(config), encoding="utf-8")
    if spec.vocab is None:
        return TOKENIZER_FILE, TOKENIZER_CONFIG
    by_id = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    (folder / spec.vocab).write_text(
        "".join(f"{token}\n" for token, _ in by_id), encoding="utf-8", newline="\n"
    )
    return TOKENIZER_FILE, TOKENIZER_CONFIG, spec.vocab


def _config(spec: TokenizerSpec, value: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json, for transformers and for libraries that follow it."""
    config: dict[str, Any] = {
        "model_max_length": spec.max_length,
        "pad_token": spec.pad_token,
        "unk_token": spec.unk_token,
        "cls_token": spec.cls_token,
        "sep_token": spec.sep_token,
    }
    if spec.mask_token is not None:
        config["mask_token"] = spec.mask_token
    if spec.pad_side != "right":
        config["padding_side"] = spec.pad_side
    if spec.type == "WordPiece":
        return config | {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": spec.lowercase,
            "strip_accents": spec.strip_accents,
            "tokenize_chinese_chars": spec.handle_chinese_chars,
        }
    if spec.type == "BPE":
        return config | {
            "tokenizer_class": "RobertaTokenizer",
            "bos_token": spec.cls_token,
            "eos_token": spec.sep_token,
            "add_prefix_space": _setting(value["pre_tokenizer"], "ByteLevel", "add_prefix_space"),
        }
    is_last = spec.cls_position == "last"
    steps = (value["normalizer"] or {}).get("normalizers", [value["normalizer"]])
    names = {step["type"] for step in steps if step}
    return config | {
        "tokenizer_class": "XLNetTokenizer" if is_last else "AlbertTokenizer",
        "do_lower_case": "Lowercase" in names,
        "keep_accents": "StripAccents" not in names,
    }


def _setting(part: dict[str, Any], kind: str, name: str) -> bool:
    """A setting of a pre-tokenizer, or of the part of it that is of this kind."""
    parts = [part, *part.get("pretokenizers", ())]
    return next(bool(one[name]) for one in parts if one.get("type") == kind)
