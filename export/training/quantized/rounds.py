"""Training texts in rounds of equal size, however many the data have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Rows = torch.utils.data.Dataset[dict[str, Any]]


class Rounds(torch.utils.data.Dataset[dict[str, Any]]):
    """A row number stands for another text in each round; no text comes twice before all came once.

    Within a round the texts lie by length, so that the lengths of any round tell about all of them
    which rows are of like length. An index of n + i gives row i of n without a target, see
    `EpochBatches`.

    Attributes:
        epoch: number of the round, from 0; the trainer sets it.
        lengths: ids of each row in the first round.
    """

    def __init__(
        self, rows: Rows, lengths: Sequence[int], *, size: int, rounds: int, seed: int
    ) -> None:
        """Deal the texts out.

        Args:
            rows: texts; an index of texts + i gives text i without a target.
            lengths: ids of each text.
            size: rows of a round.
            rounds: how many there are.
            seed: of the order.
        """
        self._rows, self._texts, self._size = rows, len(lengths), size
        chance = np.random.default_rng(seed)
        often = -(-size * rounds // self._texts)
        order = np.concatenate([chance.permutation(self._texts) for _ in range(often)])
        dealt = order[: size * rounds].reshape(rounds, size)
        counts = np.asarray(lengths)
        self._dealt = [row[np.argsort(counts[row], kind="stable")] for row in dealt]
        self.epoch = 0
        self.lengths: list[int] = counts[self._dealt[0]].tolist()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, Any]:
        text = int(self._dealt[self.epoch][index % self._size])
        return self._rows[text if index < self._size else text + self._texts]
