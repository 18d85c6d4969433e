"""Several processes that train together, as torchrun and accelerate start them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        rank: this one's number, from 0, on all machines.
        size: how many there are.
    """

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0


def world() -> World:
    """The processes of this run, from the variables that the launcher has set."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
