"""What a run has seen so far; it lives on in every resume checkpoint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

# Points of the curve over all steps.
_POINTS = 150


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the table.

    Attributes:
        number: from 1.
        training_loss: mean over the epoch's steps, in training mode.
        validation_loss: the same loss on the validation split, in evaluation mode.
        metric: main metric on the validation split.
        learning_rate: at the epoch's last step.
        seconds: wall time of training and validation.
        terms: mean of each part of the loss, where it has parts.
    """

    number: int
    training_loss: float
    validation_loss: float
    metric: float
    learning_rate: float
    seconds: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepPoint:
    """One point of the curve.

    Attributes:
        step: last one that it stands for, from 1.
        epoch: how much of the run was done, in epochs.
        loss: mean since the point before.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(slots=True)
class _Mean:
    """A running mean of a loss and its parts."""

    total: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, loss: float, terms: dict[str, float]) -> None:
        self.total += loss
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value
        self.steps += 1

    @property
    def loss(self) -> float:
        return self.total / max(self.steps, 1)


@dataclass(slots=True)
class History:
    """Epochs, the curve, and the means that are still being gathered.

    Attributes:
        max_steps: of the whole run.
        best: number of the best epoch, 0 before the first.
        stopped_early: no epoch was better for as long as the settings wait.
        resumed_from: steps from which an interrupted run was continued.
    """

    max_steps: int
    epochs: list[Epoch] = field(default_factory=list)
    steps: list[StepPoint] = field(default_factory=list)
    best: int = 0
    stopped_early: bool = False
    resumed_from: list[int] = field(default_factory=list)
    _epoch: _Mean = field(default_factory=_Mean)
    _point: _Mean = field(default_factory=_Mean)
    _rate: float = 0.0
    _seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def start_clock(self) -> None:
        """Time counts from here."""
        self._began = time.monotonic()

    def step(
        self, number: int, epoch: float, loss: float, terms: dict[str, float], rate: float
    ) -> StepPoint | None:
        """Take in a step; a point of the curve where one is due."""
        self._epoch.add(loss, terms)
        self._point.add(loss, terms)
        self._rate = rate
        if number % -(-self.max_steps // _POINTS) and number != self.max_steps:
            return None
        point = StepPoint(number, round(epoch, 4), self._point.loss, rate)
        self._point = _Mean()
        self.steps.append(point)
        return point

    def finish_epoch(self, validation_loss: float, metric: float) -> tuple[Epoch, bool]:
        """Close the epoch.

        Returns:
            Its row, and whether it is the best so far: by the metric, then by the lower loss.
        """
        seconds = self._seconds + time.monotonic() - self._began
        terms = {name: total / self._epoch.steps for name, total in self._epoch.terms.items()}
        row = Epoch(
            number=len(self.epochs) + 1,
            training_loss=self._epoch.loss,
            validation_loss=validation_loss,
            metric=metric,
            learning_rate=self._rate,
            seconds=seconds,
            terms=terms,
        )
        better = not self.best or _rank(row) > _rank(self.epochs[self.best - 1])
        self.epochs.append(row)
        if better:
            self.best = row.number
        self._epoch, self._seconds, self._began = _Mean(), 0.0, time.monotonic()
        return row, better

    def to_json(self) -> dict[str, Any]:
        """Everything, JSON-safe and exact: JSON keeps every digit of a float."""
        values = asdict(self)
        values["_seconds"] = self._seconds + time.monotonic() - self._began
        del values["_began"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> History:
        """The inverse of `to_json`; time goes on from now."""
        rest = dict(values)
        return cls(
            epochs=[Epoch(**row) for row in rest.pop("epochs")],
            steps=[StepPoint(**row) for row in rest.pop("steps")],
            _epoch=_Mean(**rest.pop("_epoch")),
            _point=_Mean(**rest.pop("_point")),
            **rest,
        )


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.metric, -epoch.validation_loss
