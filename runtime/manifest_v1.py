"""Schema version 1 of the manifest, which knew DistilBERT alone, read as version 2 and back."""

from __future__ import annotations

from typing import Any

from runtime.errors import BundleError

# What every bundle of version 1 had without saying it.
_IMPLIED: dict[str, dict[str, Any]] = {
    "task": {"pooling": None},
    "tokenizer": {
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
        "cls_position": "first",
        "token_types": "none",
    },
    "source": {"family": "distilbert"},
}


def upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """A parsed manifest of version 1 with the fields of version 2; its version stays 1.

    Raises:
        BundleError: it has a field that version 1 does not have.
    """
    result = dict(value)
    for part, implied in _IMPLIED.items():
        own = value.get(part)
        if not isinstance(own, dict):
            continue  # the reader says what is wrong with it
        if odd := sorted(set(own) & set(implied)):
            raise BundleError(
                f"manifest.{part} has the unknown field {odd[0]!r}",
                why="schema version 1 does not have it",
            )
        result[part] = own | implied
    tokenizer = result.get("tokenizer")
    if isinstance(tokenizer, dict) and tokenizer.get("pad_side") != "right":
        raise BundleError("manifest.tokenizer.pad_side must be 'right' in schema version 1")
    return result


def downgraded(value: dict[str, Any]) -> dict[str, Any]:
    """The opposite: leaves out what version 1 did not say."""
    return {
        part: {k: v for k, v in own.items() if k not in _IMPLIED[part]} if part in _IMPLIED else own
        for part, own in value.items()
    }
