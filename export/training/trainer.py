"""transformers' Trainer with losses that can be cut, exact resuming and our own batches."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from export.training.batches import EpochBatches
from export.training.callbacks import KeepBest, SaveNow
from export.training.history import History
from export.training.objective import Inputs, Objective
from export.training.resume import RunFolder
from runtime.errors import UserError
from runtime.files import canonical_json

_WEIGHTS, _BEST, _OPTIMIZER = "model.safetensors", "best.safetensors", "optimizer.safetensors"
_STATE, _TRAINER_STATE = "state.json", "trainer_state.json"

Evaluate = Callable[[torch.nn.Module], dict[str, float]]


class ResumableTrainer(transformers.Trainer):  # type: ignore[misc]
    """Trains an objective.

    What differs from Trainer:

    - A step's loss is one sum over its targets, however it is cut into passes and processes.
    - Before each step, every random generator is seeded from the seed, the step and the process. So
      nothing that happens between two steps, a resume included, changes what comes after.
    - A checkpoint is written by `RunFolder`, in safetensors and JSON, and nothing is unpickled.
    - A loss that is no number stops the run before it reaches the weights.
    """

    def __init__(
        self,
        objective: Objective,
        arguments: transformers.TrainingArguments,
        *,
        batches: EpochBatches,
        history: History,
        keeper: KeepBest,
        saver: SaveNow,
        run: RunFolder,
        evaluate: Evaluate,
        advice: Callable[[], str] = str,
    ) -> None:
        """Set up.

        Args:
            objective: what to train.
            arguments: see `export.training.arguments`.
            batches: of this process.
            history: filled step by step.
            keeper: filled epoch by epoch; needs its place among the callbacks all the same.
            saver: says when to save.
            run: where to save.
            evaluate: module → ``loss`` and the main metric; called by all processes.
            advice: what to try when the loss is no number.
        """
        super().__init__(
            model=objective.module,
            args=arguments,
            train_dataset=objective.datasets["train"],
            eval_dataset=objective.datasets["validation"],
            data_collator=objective.collate,
            callbacks=[keeper, saver],
        )
        # What it prints the table and the notes say better.
        self.remove_callback(transformers.PrinterCallback)
        # The loss is divided by the targets of the whole step already.
        self.loss_is_scaled_for_ga = True
        self._objective = objective
        self._batches = batches
        self._history = history
        self._keeper = keeper
        self._saver = saver
        self._run = run
        self._score = evaluate
        self._advice = advice
        self._parts: dict[str, torch.Tensor] = {}
        self.add_callback(_BeforeTheWeightsChange(self))

    # Batches.

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Our batches; each process has its own already, so accelerate has nothing to share out."""
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Inputs], num_batches: int, device: torch.device
    ) -> tuple[list[Inputs], torch.Tensor]:
        """The passes of a step, and how many targets they have in all processes."""
        seed_step(self.args.seed, self.state.global_step, self.args.process_index)
        self._parts = {}
        passes = list(itertools.islice(epoch_iterator, num_batches))
        items = torch.stack([self._objective.count(batch) for batch in passes]).sum(0).to(device)
        return passes, summed(items, self.args.world_size)

    # The loss.

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Inputs,
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The objective's; see `Trainer.compute_loss`."""
        items = self._objective.count(inputs) if num_items_in_batch is None else num_items_in_batch
        result = self._objective.loss(model, dict(inputs), items)
        for name, part in {"": result.loss, **result.terms}.items():
            self._parts[name] = self._parts.get(name, 0.0) + part.detach().float()
        # Gradients are averaged over processes, and each has its part of the sum.
        scaled: torch.Tensor = result.loss * self.args.world_size
        return scaled

    def start_epoch(self) -> None:
        """Tell the batches, and rows that have an ``epoch``, which one it is, from 0."""
        number = self.state.global_step // self._batches.steps
        self._batches.start_epoch(number)
        if hasattr(self.train_dataset, "epoch"):
            self.train_dataset.epoch = number

    def take_in_step(self) -> None:
        """Add the step to the history, unless its loss is no number.

        Raises:
            UserError: it is none. All processes see the same sum and stop together.
        """
        names = list(self._parts)
        sums = summed(torch.stack([self._parts[n] for n in names]), self.args.world_size)
        loss, *terms = sums.tolist()
        step = self.state.global_step + 1
        epoch = step / self._batches.steps
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} at step {step} of {self.state.max_steps} "
                f"(epoch {math.ceil(epoch)})",
                why="the learning rate is too high for this model, or its weights are broken",
                todo=self._advice(),
            )
        rate = float(self.lr_scheduler.get_last_lr()[0])
        point = self._history.step(
            step, epoch, loss, dict(zip(names[1:], terms, strict=True)), rate
        )
        if point is not None:
            self.log({"loss": point.loss, "learning_rate": point.learning_rate})

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the module; see `Trainer.evaluate`."""
        metrics = {f"eval_{name}": value for name, value in self._score(self.model).items()}
        self.log(metrics)
        self.control: transformers.TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # Checkpoints. Trainer calls these four where it would write and read its pickles.

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        del model, trial
        if not self.args.should_save:
            return
        began = time.monotonic()
        self._run.save(self.state.global_step, self._write)
        self._saver.saved(time.monotonic() - began)

    def _write(self, folder: Path) -> None:
        weights = _on_cpu(self.model.state_dict())
        if not all(torch.isfinite(t).all() for t in weights.values() if t.is_floating_point()):
            raise UserError(
                f"weights are no numbers any more after step {self.state.global_step}",
                why="the gradients overflowed",
                todo=self._advice(),
            )
        save_file(weights, folder / _WEIGHTS)
        save_file(_on_cpu(self._keeper.best), folder / _BEST)
        optimizer = self.optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value
            for index, values in optimizer["state"].items()
            for name, value in values.items()
        }
        save_file(_on_cpu(tensors), folder / _OPTIMIZER)
        scheduler = self.lr_scheduler.state_dict()
        scaler = getattr(self.accelerator, "scaler", None)
        state = {
            "history": self._history.to_json(),
            "optimizer": optimizer["param_groups"],
            # The schedule itself is made from the settings again.
            "scheduler": {k: v for k, v in scheduler.items() if k != "lr_lambdas"},
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        (folder / _STATE).write_text(canonical_json(state), encoding="utf-8")
        self.state.save_to_json(str(folder / _TRAINER_STATE))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        module = self.model if model is None else model
        module.load_state_dict(load_file(Path(resume_from_checkpoint) / _WEIGHTS))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = read_state(Path(checkpoint))
        tensors: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(Path(checkpoint) / _OPTIMIZER).items():
            index, name = key.split(".", 1)
            tensors.setdefault(int(index), {})[name] = value
        # JSON has no tuples, and AdamW's betas are one.
        groups = [
            {k: tuple(v) if k == "betas" else v for k, v in group.items()}
            for group in state["optimizer"]
        ]
        self.optimizer.load_state_dict({"state": tensors, "param_groups": groups})
        scheduler = self.lr_scheduler.state_dict()
        self.lr_scheduler.load_state_dict(
            state["scheduler"] | {k: v for k, v in scheduler.items() if k == "lr_lambdas"}
        )

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            scaler.load_state_dict(read_state(Path(checkpoint))["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: `seed_step` sets every generator."""


class _BeforeTheWeightsChange(transformers.TrainerCallback):  # type: ignore[misc]
    """Calls the trainer at the two moments that Trainer has no method for."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._trainer.start_epoch()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._trainer.take_in_step()


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed Python's, numpy's and torch's generators for one step of one process."""
    words = np.random.SeedSequence([seed, step, rank]).generate_state(1)
    value = int(words[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)  # all devices'


def summed(tensor: torch.Tensor, processes: int) -> torch.Tensor:
    """The sum over all processes."""
    if processes > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds besides tensors."""
    state: dict[str, Any] = json.loads((checkpoint / _STATE).read_bytes())
    return state


def read_best(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Weights of the best epoch so far; empty before the first."""
    return dict(load_file(checkpoint / _BEST))


def _on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As safetensors wants them: each with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
