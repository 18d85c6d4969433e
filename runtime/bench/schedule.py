"""What is asked of whom, and in which order, so that a drifting machine hits all alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.golden import Golden


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    """A size of input: `length` ids in each of `batch` rows, none of them padding."""

    batch: int
    length: int

    @property
    def key(self) -> str:
        """Such as ``1x128``."""
        return f"{self.batch}x{self.length}"


def cells_of(lengths: Sequence[int], batch: int, throughput: int, longest: int) -> list[Cell]:
    """Every length at the small batch, and the bundle's longest one at the large batch, too.

    Args:
        lengths: sequence lengths.
        batch: rows of a request that waits for its answer.
        throughput: rows where only the total counts; 0 leaves it out.
        longest: the length at which throughput is measured, if it is among `lengths`; else the
            nearest below, or the shortest.
    """
    cells = [Cell(batch, length) for length in sorted(set(lengths))]
    if throughput and throughput != batch:
        below = [length for length in lengths if length <= longest]
        cells.append(Cell(throughput, max(below) if below else min(lengths)))
    return cells


def rounds(
    names: Sequence[str], cells: Sequence[Cell], count: int, seed: int
) -> Iterator[list[tuple[str, Cell]]]:
    """In every round every pair once: cell by cell, the contestants in a new order each time.

    Contestants of a cell are neighbours in time, so that what is compared saw the same machine. The
    order is drawn anew for each, so that nobody always runs after the same one or the hottest.

    Yields:
        One list a round.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        order = [cells[i] for i in rng.permutation(len(cells))]
        yield [(names[i], cell) for cell in order for i in rng.permutation(len(names))]


def real_ids(golden: Golden, cell: Cell) -> list[list[int]]:
    """Ids of the golden texts one after the other, cut to the cell's size.

    Real ones: a table of embeddings is read in other places for random ids than for a text's.

    Returns:
        [batch][length].
    """
    stream = [i for case in golden.cases for i in case.input_ids]
    wanted = cell.batch * cell.length
    copies = -(-wanted // len(stream))
    flat = (stream * copies)[:wanted]
    return [flat[row * cell.length :][: cell.length] for row in range(cell.batch)]
