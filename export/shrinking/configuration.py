"""config.json of a smaller checkpoint, under the names that the family itself uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint

_SUFFIX = "_token_id"


def effective(checkpoint: Checkpoint) -> Any:
    """The configuration with the family's defaults where config.json is silent."""
    import transformers

    kind = getattr(transformers, checkpoint.family.config_class)
    return kind.from_dict(dict(checkpoint.config))


def named_ids(checkpoint: Checkpoint) -> dict[str, int]:
    """``pad_token_id`` and its like → id, as they apply; those without a value are absent."""
    values = effective(checkpoint).to_dict()
    return {
        name: value
        for name, value in values.items()
        if name.endswith(_SUFFIX) and isinstance(value, int)
    }


def depth(checkpoint: Checkpoint) -> int:
    """Number of layers."""
    return int(effective(checkpoint).num_hidden_layers)


def write_config(checkpoint: Checkpoint, changes: Mapping[str, Any], folder: Path) -> None:
    """Write config.json with changes, each under the family's own name for it.

    Args:
        checkpoint: whose config.json is changed.
        changes: transformers' common names, such as ``num_hidden_layers``, to values.
        folder: where to write it.
    """
    aliases: Mapping[str, str] = type(effective(checkpoint)).attribute_map
    config = dict(checkpoint.config)
    for common, value in changes.items():
        own = aliases.get(common, common)
        if own != common:  # DistilBERT says n_layers; a file may say either
            config.pop(common, None)
        config[own] = value
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
