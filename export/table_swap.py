"""A float conversion whose embeddings are another model's, without converting anew.

Rounding by what outputs make of rows (`export.rounding.gradients`) changes tables of embeddings and
nothing else, and a converter stores a table as it is. So the conversion of the model as it was
before, which the float recipe needs anyway, becomes the other one by exchanging bytes. A conversion
takes half a minute at full size, this a second; the tests compare both byte for byte.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.targets.parameters import original_parameters

if TYPE_CHECKING:
    from export.reference import Reference

# How a table may be stored.
_TYPES = (np.float32, np.float16)


@dataclass(frozen=True, slots=True)
class Swap:
    """A table of embeddings, float32 [rows, dim], and what takes its place."""

    old: npt.NDArray[np.float32]
    new: npt.NDArray[np.float32]


def swaps_between(before: Reference, after: Reference) -> list[Swap] | None:
    """The tables in which two references of one architecture differ.

    Returns:
        None if they differ in anything else.
    """
    from torch import nn

    model: Any = before.module.model
    tables = {
        f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Embedding)
    }
    old, new = original_parameters(before), original_parameters(after)
    if old.keys() != new.keys():
        return None
    changed = [name for name in old if not np.array_equal(old[name], new[name], equal_nan=True)]
    if not set(changed) <= tables:
        return None
    return [Swap(old[name], new[name]) for name in changed]


def swap_tables(conversion: Path, swaps: Sequence[Swap], destination: Path) -> bool:
    """Copy a float conversion and exchange its tables.

    A table may be stored more than once, in float32 or float16, and without its last rows, as
    positions beyond the longest sequence are left out.

    Args:
        conversion: a file, or a folder of files.
        swaps: what to exchange.
        destination: appears, whole, only where the result is True.

    Returns:
        Whether every table was found.
    """
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as new:
        copy = Path(new) / destination.name
        copied = shutil.copytree if conversion.is_dir() else shutil.copyfile
        copied(conversion, copy)
        if not _all_swapped(copy, swaps):
            return False
        copy.replace(destination)
        return True


def _all_swapped(conversion: Path, swaps: Sequence[Swap]) -> bool:
    """Exchange tables in place; whether every one was found."""
    files = [conversion] if conversion.is_file() else sorted(conversion.rglob("*"))
    found = [False] * len(swaps)
    for file in files:
        if not file.is_file() or not file.stat().st_size:
            continue
        with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
            # All places first: what is written may look like what is sought.
            places = [list(_places(data, swap)) for swap in swaps]
            for number, (swap, found_here) in enumerate(zip(swaps, places, strict=True)):
                found[number] |= bool(found_here)
                for start, rows, kind in found_here:
                    new = swap.new[:rows].astype(kind).tobytes()
                    data[start : start + len(new)] = new
    return all(found)


def _places(data: mmap.mmap, swap: Swap) -> Iterator[tuple[int, int, Any]]:
    """Where a table begins, how many of its rows are there, and in which type."""
    for kind in _TYPES:
        table = np.ascontiguousarray(swap.old.astype(kind))
        probe = _telling_row(table)
        if probe is None:
            continue
        row, width = table[probe].tobytes(), table[0].nbytes
        at = data.find(row)
        while at >= 0:
            start = at - probe * width
            # A row of zeros says nothing, so the rows before the telling one must be there, too.
            if start >= 0 and data[start:at] == table[:probe].tobytes():
                yield start, _rows_at(data, start, table), kind
            at = data.find(row, at + 1)


def _telling_row(table: npt.NDArray[Any]) -> int | None:
    """The first row with as many different numbers as one that was learned has."""
    for place, row in enumerate(table):
        if len(np.unique(row)) > len(row) // 4 + 1:
            return place
    return None


def _rows_at(data: mmap.mmap, start: int, table: npt.NDArray[Any]) -> int:
    """How many rows of the table follow each other from there on."""
    width = table[0].nbytes
    room = min(len(table), (len(data) - start) // width)
    there = np.frombuffer(data[start : start + room * width], np.uint8).reshape(room, width)
    same = (there == table[:room].view(np.uint8).reshape(room, width)).all(axis=1)
    return room if same.all() else int(np.argmin(same))
