"""What one baseline came to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """A baseline, trained once on the training split.

    Attributes:
        name: ``bag_of_words`` or ``lstm``.
        metrics: split → figure → value, as `Evaluation.flat` has them.
        training_seconds: wall time, reading the words included.
        prediction_ms_per_text: median over single texts, from text to logits, on one thread.
        bytes: of the arrays and words that a prediction needs, as they would be written, without
            compression.
        parameters: trained numbers.
        settings: what a reader needs in order to repeat it.
    """

    name: str
    metrics: dict[str, dict[str, float]]
    training_seconds: float
    prediction_ms_per_text: float
    bytes: int
    parameters: int
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-safe."""
        return dataclasses.asdict(self)
