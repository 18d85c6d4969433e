"""What a session shows of the inside of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from runtime.sessions.base import Logits


@dataclass(frozen=True, slots=True)
class Tap:
    """One operation and what came out of it.

    Attributes:
        name: of the operation.
        kind: the format's name of what it does, such as ``MatMul``.
        inputs: names of the tensors that it reads and that are computed, or inputs of the graph.
        parameters: stored tensors that it reads: name → number of elements.
        outputs: name → value, without the batch's axis or with it. Quantized activations may be
            given as the numbers they stand for.
        moves: whether it only rearranges its first input, without leaving anything out.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    parameters: dict[str, int]
    outputs: dict[str, npt.NDArray[Any]]
    moves: bool


@dataclass(frozen=True, slots=True)
class Tapped:
    """One run with everything in it.

    Attributes:
        logits: of this run, float32 [1, labels].
        output: name of their tensor.
        operations: in the order in which they were computed.
    """

    logits: Logits
    output: str
    operations: tuple[Tap, ...]
