"""One module per family of models; each declares FAMILY and is found by it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from export.families.base import MASKED_SCORE, Family
from runtime.errors import UserError
from runtime.plugins import modules_by

__all__ = ["MASKED_SCORE", "Family", "families", "family_of", "family_of_model"]


def families() -> dict[str, Family]:
    """Transformers' ``model_type`` → family, sorted by name."""
    found = modules_by(sys.modules[__name__], "NAME")
    return {name: module.FAMILY for name, module in found.items()}


def family_of(config: Mapping[str, Any], name: str) -> Family:
    """The family of a checkpoint's config.json.

    Args:
        config: parsed.
        name: of the checkpoint, for messages.

    Raises:
        UserError: it belongs to none.
    """
    kind = config.get("model_type")
    known = families()
    if kind not in known:
        titles = ", ".join(family.title for family in known.values())
        raise UserError(
            f"{name} is a {kind or 'nameless'} checkpoint",
            why=f"this release knows {titles}; loading another architecture into one of them "
            "would leave most weights random",
            todo="name a checkpoint of one of these, such as distilbert-base-uncased",
        )
    return known[kind]


def family_of_model(model: Any) -> Family:
    """The family of a model that was built already.

    Raises:
        UserError: it belongs to none.
    """
    return family_of({"model_type": model.config.model_type}, type(model).__name__)
