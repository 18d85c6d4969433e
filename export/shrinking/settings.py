"""What to shrink, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import UserError

# The corpus that is the data's own training split.
OWN_DATA = "data"


@dataclass(frozen=True, slots=True)
class ShrinkSettings:
    """What is left out of a checkpoint.

    Attributes:
        corpus: texts whose pieces are kept: a UTF-8 file, one text a line, or ``data`` for the
            training split; empty keeps the vocabulary.
        min_count: pieces that occur less often in the corpus are left out.
        vocab_size: most tokens, special ones and characters included; None for no limit.
        keep_layers: layers to keep, from 0, ascending; None keeps them all.
        drop_layers: layers to leave out; at most one of the two is given.
    """

    corpus: str = ""
    min_count: int = 1
    vocab_size: int | None = None
    keep_layers: tuple[int, ...] | None = None
    drop_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UserError: nothing to do, two choices of layers, or a limit without a corpus.
        """
        if self.keep_layers is not None and self.drop_layers is not None:
            raise UserError(
                "--layers and --drop-layers exclude each other",
                why="one names the layers that stay, the other those that go",
                todo="give one of them",
            )
        if self.min_count < 1 or (self.vocab_size is not None and self.vocab_size < 1):
            raise UserError("--min-count and --vocab-size must be at least 1")
        if not self.corpus and (self.min_count > 1 or self.vocab_size is not None):
            raise UserError(
                "--min-count and --vocab-size need a corpus to count pieces in",
                todo="name it: --prune-vocab FILE, or --prune-vocab data",
            )
        if not (self.corpus or self.changes_layers):
            raise UserError(
                "there is nothing to shrink",
                todo="name a corpus (--prune-vocab FILE|data) or layers (--drop-layers 1,3)",
            )

    @property
    def changes_layers(self) -> bool:
        """Whether layers are left out."""
        return self.keep_layers is not None or self.drop_layers is not None

    @property
    def is_lossless_on_corpus(self) -> bool:
        """Whether every piece that the corpus uses is kept."""
        return self.min_count == 1 and self.vocab_size is None

    def what_decides(self) -> Mapping[str, Any]:
        """JSON-safe; the corpus counts by its texts, not by its name."""
        values = asdict(self)
        return values | {"corpus": bool(self.corpus)}
