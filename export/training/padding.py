"""How much of what a run computes is padding, by the way its batches are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from export.training.batches import EpochBatches
from runtime.errors import UserError

PaddingMode = Literal["to_maximum", "random", "grouped"]


@dataclass(frozen=True, slots=True)
class PaddedShares:
    """Share of the ids of an epoch that are padding, 0 to 1, for each way of making batches.

    Attributes:
        to_maximum: every text filled up to `max_length`.
        random: random batches, each filled up to its own longest text.
        grouped: batches of texts of like length, each filled up to its own longest text.
        max_length: in ids.
        texts: how many training texts were counted.
    """

    to_maximum: float
    random: float
    grouped: float
    max_length: int
    texts: int

    def share(self, mode: PaddingMode) -> float:
        """The share of one mode."""
        return {
            "to_maximum": self.to_maximum,
            "random": self.random,
            "grouped": self.grouped,
        }[mode]

    def sentence(self, mode: PaddingMode) -> str:
        """One line for a person: the share of the chosen mode first, the others to compare."""
        says: dict[PaddingMode, str] = {
            "grouped": "batches of like length",
            "random": "random batches",
            "to_maximum": f"all filled up to {self.max_length} ids",
        }
        others = ", ".join(
            f"{words} {self.share(other):.0%}" for other, words in says.items() if other != mode
        )
        return f"Padding: {self.share(mode):.0%} of all ids, {says[mode]} ({others})."


def padded_shares(
    lengths: Sequence[int],
    *,
    batch_size: int,
    max_length: int,
    seed: int,
    accumulation: int = 1,
    processes: int = 1,
) -> PaddedShares:
    """Count the padding of one epoch for each way of making batches.

    The batches are the run's own, `export.training.batches`.

    Args:
        lengths: ids of each training text, special tokens included, after truncation.
        batch_size: texts per pass and process.
        max_length: longest sequence in ids.
        seed: of the order.
        accumulation: passes per step.
        processes: how many train together.

    Raises:
        UserError: there are no texts, or one is longer than `max_length`.
    """
    if not lengths:
        raise UserError("there are no training texts to count the padding of")
    if max(lengths) > max_length:
        raise UserError(f"a text has {max(lengths)} ids", why=f"max length is {max_length}")

    def share(grouped: Sequence[int] | None) -> float:
        places = 0
        for rank in range(processes):
            batches = EpochBatches(
                len(lengths),
                batch_size,
                lengths=grouped,
                accumulation=accumulation,
                processes=processes,
                rank=rank,
                seed=seed,
            )
            # An index beyond the end stands for a text that only fills a place.
            sizes = ([lengths[index % len(lengths)] for index in batch] for batch in batches)
            places += sum(max(size) * len(size) for size in sizes)
        return 1 - sum(lengths) / places

    return PaddedShares(
        to_maximum=1 - sum(lengths) / (max_length * len(lengths)),
        random=share(None),
        grouped=share(lengths),
        max_length=max_length,
        texts=len(lengths),
    )
