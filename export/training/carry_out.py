"""Carry out a run: resume it, train it, and leave the best weights in the module."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.settings import FineTuneSettings
from export.training.arguments import device_name, resolve_precision, training_arguments
from export.training.batches import EpochBatches
from export.training.callbacks import KeepBest, SaveNow, ShowProgress
from export.training.conclude import versions
from export.training.history import History
from export.training.objective import Objective
from export.training.processes import World, world
from export.training.report import tensorboard
from export.training.resume import RunFolder, step_of
from export.training.trainer import Evaluate, ResumableTrainer, read_best, read_state
from runtime.console import note, progress_bar
from runtime.errors import UserError
from runtime.files import canonical_json


def carry_out(
    objective: Objective,
    settings: FineTuneSettings,
    run: RunFolder,
    *,
    metric: str,
    evaluate: Evaluate,
    identity: dict[str, Any],
) -> History:
    """Train an objective from where its run folder stands to the end.

    Every process of the run calls this. Afterwards the module is on the CPU, in float32, with the
    best epoch's weights, and the group of processes is dissolved.

    Args:
        objective: what to train.
        settings: of the run.
        run: its folder, locked by the first process.
        metric: of `evaluate`, the higher the better; it chooses the best epoch. Where `evaluate`
            has none of this name, the lower loss does.
        evaluate: module → ``loss`` and metrics on the validation split; all processes call it
            together.
        identity: JSON-safe, such as the data's hash. A run of another is not continued.

    Raises:
        UserError: the loss is no longer a number, the machine lacks what the settings ask for, or
            the run folder holds another run.
    """
    processes = world()
    batches = _batches(settings, objective, processes)
    arguments = training_arguments(
        settings,
        run.path,
        processes,
        steps_per_epoch=batches.steps,
        idle_parameters=processes.size > 1 and _has_idle_parameters(objective),
    )
    _ = arguments.device  # joins the processes
    config = identity | _identity(settings, objective, processes)
    checkpoint = _resume_point(run, config, settings, processes)
    history = History(batches.steps * settings.effective.epochs)
    if checkpoint is not None:
        history = History.from_json(read_state(checkpoint)["history"])
        history.resumed_from.append(step_of(checkpoint) or 0)
        note(f"  continuing from step {history.resumed_from[-1]} of {history.max_steps}")
    keeper = KeepBest(history, metric, settings.effective.patience)
    if checkpoint is not None:
        keeper.best = read_best(checkpoint)
    trainer = ResumableTrainer(
        objective,
        arguments,
        batches=batches,
        history=history,
        keeper=keeper,
        saver=SaveNow(settings.run.save_every, batches.steps),
        run=run,
        evaluate=evaluate,
        advice=lambda: _advice(settings),
    )
    if settings.run.tensorboard is not None:
        trainer.add_callback(tensorboard.callback(settings.run.tensorboard))
    begun = step_of(checkpoint) if checkpoint else 0
    with progress_bar("steps", done=begun or 0) as show, _processes_together(processes):
        trainer.add_callback(ShowProgress(show))
        if not history.stopped_early:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # Without mixed precision and compilation: as it will be exported.
    trainer.accelerator.unwrap_model(objective.module, keep_fp32_wrapper=False)
    objective.module.to("cpu")
    objective.module.load_state_dict(keeper.best)
    return history


@contextlib.contextmanager
def _processes_together(processes: World) -> Iterator[None]:
    """The group of processes ends with training; what comes after is the first one's alone."""
    yield
    if processes.size > 1:
        torch.distributed.destroy_process_group()


def _batches(settings: FineTuneSettings, objective: Objective, processes: World) -> EpochBatches:
    chosen = settings.effective
    return EpochBatches(
        len(objective.datasets["train"]),  # type: ignore[arg-type]
        chosen.batch_size,
        lengths=objective.lengths if chosen.group_by_length else None,
        accumulation=chosen.accumulation,
        processes=processes.size,
        rank=processes.rank,
        seed=settings.seed,
    )


def _has_idle_parameters(objective: Objective) -> bool:
    """Whether a parameter has no part in the loss, such as XLNet's embedding of masks."""
    batch = objective.collate([objective.datasets["train"][0]])
    items = objective.count(batch)
    objective.loss(objective.module, batch, items).loss.backward()  # type: ignore[no-untyped-call]
    idle = any(p.requires_grad and p.grad is None for p in objective.module.parameters())
    objective.module.zero_grad(set_to_none=True)
    return idle


def _identity(settings: FineTuneSettings, objective: Objective, processes: World) -> dict[str, Any]:
    """What the run is besides its data."""
    return {
        "settings": settings.what_decides(),
        "start_sha256": _start_sha256(objective),
        "precision": resolve_precision(settings.precision),
        "device": device_name(),
        "processes": processes.size,
        "objective": dict(objective.fingerprint),
        "versions": versions(),
    }


def _start_sha256(objective: Objective) -> str:
    """Hash of the weights and the tokenizer that the run starts from."""
    digest = hashlib.sha256(objective.start.tokenizer.to_str().encode())
    for name, tensor in sorted(objective.start.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().float().numpy()).data)
    return digest.hexdigest()


def _resume_point(
    run: RunFolder, config: dict[str, Any], settings: FineTuneSettings, processes: World
) -> Path | None:
    """The checkpoint to continue from; the first process finds it for all.

    Raises:
        UserError: the folder holds another run, or the processes differ in data or weights.
    """
    found: list[Any] = [None, ""]
    if processes.leads:
        run.begin(config, fresh=settings.run.fresh)
        found = [run.newest(), canonical_json(config)]
    if processes.size > 1:
        torch.distributed.broadcast_object_list(found)
        same = [False] * processes.size
        torch.distributed.all_gather_object(same, found[1] == canonical_json(config))
        if not all(same):
            raise UserError(
                f"process {same.index(False)} has other data, weights or settings than process 0",
                todo="give all processes the same files and the same command",
            )
    checkpoint: Path | None = found[0]
    return checkpoint


def _advice(settings: FineTuneSettings) -> str:
    """What to try against a loss that is no number."""
    chosen = settings.effective
    ideas = [f"a tenth of the learning rate (--learning-rate {chosen.learning_rate / 10:g})"]
    if resolve_precision(settings.precision) != "float32":
        ideas.append("--precision float32")
    if chosen.class_weights != "none":
        ideas.append("no class weights (--class-weights none)")
    ideas.append(f"larger steps (--accumulation {2 * chosen.accumulation})")
    return f"try {', then '.join(ideas)}"
