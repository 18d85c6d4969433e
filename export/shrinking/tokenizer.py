"""tokenizer.json with fewer tokens: every place that names an id is rewritten, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from export.shrinking.kinds import Vocabulary
from export.shrinking.selection import Selection
from runtime.errors import UserError


def smaller_tokenizer(
    tokenizer: Tokenizer, vocabulary: Vocabulary, selection: Selection
) -> Tokenizer:
    """The same tokenizer with the selected tokens, numbered from 0 without gaps.

    Raises:
        UserError: a post-processor names ids in a way that is not known here, or the library
            numbers the tokens otherwise.
    """
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    number = {token: i for i, token in enumerate(selection.tokens)}
    inside = set(vocabulary.pieces)
    value["model"] = vocabulary.model([token for token in selection.tokens if token in inside])
    for token in value["added_tokens"]:
        token["id"] = number[token["content"]]
    value["added_tokens"].sort(key=lambda token: token["id"])
    value["post_processor"] = _renumbered(value["post_processor"], number)
    value["padding"] = value["truncation"] = None
    smaller = Tokenizer.from_str(json.dumps(value))
    if smaller.get_vocab(with_added_tokens=True) != number:
        raise UserError(
            "the tokenizer's added tokens cannot be numbered without gaps",
            todo="leave --prune-vocab out",
        )
    return smaller


def _renumbered(part: dict[str, Any] | None, number: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor with the new ids."""
    if part is None or part["type"] == "ByteLevel":
        return part
    if part["type"] == "Sequence":
        return part | {"processors": [_renumbered(one, number) for one in part["processors"]]}
    if part["type"] in {"BertProcessing", "RobertaProcessing"}:
        return part | {name: [part[name][0], number[part[name][0]]] for name in ("sep", "cls")}
    if part["type"] == "TemplateProcessing":
        special = {
            name: token | {"ids": [number[one] for one in token["tokens"]]}
            for name, token in part["special_tokens"].items()
        }
        return part | {"special_tokens": special}
    raise UserError(
        f"the vocabulary cannot be pruned: the tokenizer's post-processor is {part['type']}",
        why="it may name ids in a way that is not known here",
        todo="leave --prune-vocab out",
    )
