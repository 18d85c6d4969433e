"""Which texts a step takes: the same for any split of the step over processes and passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.int64]

# Steps whose texts are sorted by length together: more leave less padding and less chance.
_SORTED_STEPS = 50


class EpochBatches(torch.utils.data.Sampler[list[int]]):
    """Indices of the training texts, one list per pass through the model of one process.

    The order depends on the seed and the epoch alone, never on torch's global generator, so that a
    resumed run meets the batches that it would have met. A step's texts are cut among
    passes and processes, so that two processes take what one would with the doubled batch.

    Where a step has too few texts for all processes, an index of n + i stands for text i of n
    without a target: every process makes the pass, and the loss leaves the text out.
    """

    def __init__(
        self,
        texts: int,
        batch_size: int,
        *,
        lengths: Sequence[int] | None = None,
        accumulation: int = 1,
        processes: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        """Set up the batches of one process.

        Args:
            texts: in the training split.
            batch_size: texts per pass and process.
            lengths: ids of each text; steps then have texts of like length. None: any texts.
            accumulation: passes per step.
            processes: how many train together.
            rank: this one's number, from 0.
            seed: of the order.
        """
        self._texts = texts
        self._batch = batch_size
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._pass = batch_size * processes
        self._step = self._pass * accumulation
        self._rank = rank
        self._seed = seed
        self._epoch = 0

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self._texts // self._step)

    def start_epoch(self, number: int) -> None:
        """Choose the epoch, from 0, that the next iteration gives the order of."""
        self._epoch = number

    def order(self, epoch: int) -> list[list[int]]:
        """The texts of each step of all processes; only the last may have fewer than others."""
        chance = np.random.default_rng([self._seed, epoch])
        order = chance.permutation(self._texts)
        if self._lengths is None:
            return [chunk.tolist() for chunk in _cut(order, self._step)]
        # Small data get smaller sorted chunks: otherwise every epoch would have the same batches.
        together = min(_SORTED_STEPS, max(1, self.steps // 4)) * self._step
        steps = []
        for chunk in _cut(order, together):
            by_length = chunk[np.argsort(self._lengths[chunk], kind="stable")]
            steps += _cut(by_length, self._step)
        full = [step for step in steps if len(step) == self._step]
        mixed = [full[i].tolist() for i in chance.permutation(len(full))]
        return mixed + [step.tolist() for step in steps if len(step) < self._step]

    def __len__(self) -> int:
        return len(range(0, self._texts, self._pass))

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.order(self._epoch):
            for share in _cut(np.asarray(step), self._pass):
                mine = share[self._rank * self._batch : (self._rank + 1) * self._batch].tolist()
                yield mine or [self._texts + int(share[0])]


def _cut(indices: Indices, size: int) -> list[Indices]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]
