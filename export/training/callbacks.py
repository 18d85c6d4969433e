"""What happens beside the steps: history, best weights, early stopping, progress, saving."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import transformers

from export.training.history import Epoch, History
from runtime.console import note

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

# Saving may take this share of the time.
_SAVING_SHARE = 0.05
# Without a first measurement: what is lost by a kill before it.
_FIRST_SAVE_SECONDS = 10.0


class KeepBest(transformers.TrainerCallback):  # type: ignore[misc]
    """Closes an epoch with its scores, keeps the best weights, stops when nothing gets better.

    Attributes:
        best: state dict of the best epoch, on the CPU.
    """

    def __init__(self, history: History, metric: str, patience: int | None) -> None:
        self._history = history
        self._metric = metric
        self._patience = patience
        self.best: dict[str, torch.Tensor] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The clock of the first epoch starts."""
        self._history.start_clock()

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        model: torch.nn.Module,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        """Take in an epoch."""
        score = metrics.get(f"eval_{self._metric}", -metrics["eval_loss"])
        row, better = self._history.finish_epoch(metrics["eval_loss"], score)
        note(epoch_line(row, self._metric))
        if better:
            self.best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        elif self._patience and row.number - self._history.best >= self._patience:
            self._history.stopped_early = True
            control.should_training_stop = True
            note(f"  no better epoch for {self._patience}: stopped early")


def epoch_line(row: Epoch, metric: str) -> str:
    """An epoch in one line, while training goes on."""
    terms = "".join(f", {name} {value:.4f}" for name, value in row.terms.items())
    return (
        f"  epoch {row.number}: training loss {row.training_loss:.4f}{terms}, validation loss "
        f"{row.validation_loss:.4f}, {metric} {row.metric:.4f}, {row.seconds:.1f} s"
    )


class ShowProgress(transformers.TrainerCallback):  # type: ignore[misc]
    """Steps with the time left, in place of Trainer's bars and dictionaries."""

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self._show = show

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """A step is done."""
        self._show(state.global_step, state.max_steps)


class SaveNow(transformers.TrainerCallback):  # type: ignore[misc]
    """Says when a resume checkpoint is due.

    Never between an epoch's last step and its validation: what is continued from there would go on
    with the next epoch, and the validation would be missing.
    """

    def __init__(self, every: int | None, steps_per_epoch: int) -> None:
        """Set up.

        Args:
            every: steps; None goes by the time that the last one took.
            steps_per_epoch: optimizer steps.
        """
        self._every = every
        self._per_epoch = steps_per_epoch
        self._pause = _FIRST_SAVE_SECONDS
        self._last = time.monotonic()
        self._passed_over = False

    def saved(self, seconds: float) -> None:
        """Tell how long it took."""
        self._pause = seconds / _SAVING_SHARE
        self._last = time.monotonic()
        self._passed_over = False

    def _due(self, step: int) -> bool:
        if self._every is not None:
            return self._passed_over or step % self._every == 0
        return time.monotonic() - self._last >= self._pause

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Between two steps of an epoch."""
        due = self._due(state.global_step)
        if state.global_step % self._per_epoch:
            control.should_save = due
        else:
            self._passed_over = due

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Trainer validates before it saves. The last one is always saved, for what follows."""
        last = state.global_step >= state.max_steps
        control.should_save = last or self._due(state.global_step)
