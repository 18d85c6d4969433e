"""What one artifact did on one machine: all that the judge needs, wherever it was gathered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.golden import Golden
from runtime.manifest import ArtifactSpec
from runtime.processor import architecture, features

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where an artifact ran; figures of unlike machines are never mixed.

    Attributes:
        architecture: such as ``x86_64`` or ``arm64``; limits are found by it.
        processor: such as ``cortex-a53``; empty where it is not told.
        features: instruction sets that int8 results depend on, `runtime.processor`'s names.
        emulator: such as ``qemu-aarch64 10.0.2``; empty on real hardware.
    """

    architecture: str
    processor: str = ""
    features: tuple[str, ...] = ()
    emulator: str = ""

    def to_json(self) -> dict[str, Any]:
        """As results.json and parity.json have it."""
        return {
            "architecture": self.architecture,
            "processor": self.processor,
            "features": list(self.features),
            "emulator": self.emulator,
        }

    @property
    def name(self) -> str:
        """For tables: ``arm64 cortex-a53, emulated``."""
        words = " ".join(word for word in (self.architecture, self.processor) if word)
        return f"{words}, emulated" if self.emulator else words


def this_machine() -> Machine:
    """The machine that this program runs on."""
    return Machine(architecture(), features=features())


def cases_per_length(artifact: ArtifactSpec, golden: Golden, rows: Sequence[int]) -> dict[int, int]:
    """Sequence length → cases that run at it, ascending; empty where any length runs."""
    if artifact.lengths is None:
        return {}
    ids = [len(golden.cases[row].input_ids) for row in rows]
    return dict(sorted(Counter(min(n for n in artifact.lengths if n >= i) for i in ids).items()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One artifact on one machine.

    Attributes:
        artifact: path in the bundle.
        sha256: of the artifact that ran.
        environment: runtime, version, threads, delegate …, as the session or the device tells.
        rows: indices of the golden cases that ran, ascending.
        logits: float32 [rows, labels].
        measured: figures that only the machine can give, named as in `runtime.parity.gates`.
        lengths: sequence length → cases that ran at it; empty where any length runs.
        wrong_ids: names of cases whose text became other ids there.
        wrong_labels: names of cases whose labels there do not follow from their logits.
    """

    artifact: str
    sha256: str
    machine: Machine
    environment: dict[str, str]
    rows: tuple[int, ...]
    logits: Logits
    measured: dict[str, float] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    wrong_ids: tuple[str, ...] = ()
    wrong_labels: tuple[str, ...] = ()
