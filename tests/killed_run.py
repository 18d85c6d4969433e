"""A training run in a process of its own that kills itself with SIGKILL at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from export.data import DataSettings, load_dataset
from export.settings import FineTuneSettings
from export.training import conclude, finetune, history, resume

# Forks from a server that has imported torch once, and is single-threaded all the same.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["export.training.finetune", "export.data", "sklearn.metrics", "sklearn.linear_model"]
)


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        die: where and at which call there: ``step:7``, ``saving:2``, ``renaming:1``,
            ``evaluating:1``, ``publishing:1``; empty lets it live.
    """

    data: Path
    destination: Path
    settings: FineTuneSettings
    die: str = ""


def start(job: Job) -> Any:
    """The process, running."""
    process = PROCESSES.Process(target=_run, args=(job,))
    process.start()
    return process


def run(job: Job) -> int:
    """Its exit code: -9 after SIGKILL."""
    process = start(job)
    process.join(300)
    return int(process.exitcode)


def _run(job: Job) -> None:
    torch.set_num_threads(1)
    where, _, count = job.die.partition(":")
    places: dict[str, tuple[Any, str]] = {
        # Between the gradients and the change of the weights.
        "step": (history.History, "step"),
        # Weights and optimizer are written, the mark is not.
        "saving": (resume, "_listing"),
        # The mark is written, the name is not there yet.
        "renaming": (resume, "flush_folder"),
        # The epoch's steps are done.
        "evaluating": (finetune, "predict"),
        # All training is done, the baselines too.
        "publishing": (conclude, "publish_folder"),
    }
    if where:
        owner, name = places[where]
        setattr(owner, name, _deadly(getattr(owner, name), int(count)))
    dataset = load_dataset(DataSettings(source=str(job.data)))
    finetune.fine_tune(dataset, job.settings, job.destination)


def _deadly(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return wrapped


def saving_every(settings: FineTuneSettings, steps: int) -> FineTuneSettings:
    """With resume checkpoints so often."""
    return replace(settings, run=replace(settings.run, save_every=steps))
