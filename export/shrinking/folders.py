"""The tokenizer's files of a smaller checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from export.checkpoint import Checkpoint
from export.shrinking.configuration import effective
from export.tokenizers import TOKENIZER_CONFIG, describe_tokenizer, write_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Of a family without a table of positions.
_LONGEST = 512


def copy_tokenizer(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> None:
    """Write every file that a tokenizer is read from, all from one source.

    Args:
        checkpoint: whose longest text is kept.
        tokenizer: the checkpoint's, or a smaller one.
        folder: where to.

    Raises:
        UserError: the tokenizer does not fit the family.
    """
    spec = describe_tokenizer(tokenizer, longest_text(checkpoint), checkpoint.family)
    write_tokenizer(tokenizer, spec, folder)


def longest_text(checkpoint: Checkpoint) -> int:
    """In ids: what tokenizer_config.json says, within the model's positions."""
    limit = checkpoint.family.longest(effective(checkpoint)) or _LONGEST
    try:
        said = json.loads((checkpoint.path / TOKENIZER_CONFIG).read_bytes())["model_max_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return limit
    return min(limit, int(said)) if isinstance(said, int | float) and said >= 1 else limit
