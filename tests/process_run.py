"""A program for torchrun: one process of a fine-tuning run. See test_processes.py.

process_run.py DATA DESTINATION OPTIONS    OPTIONS is a JSON object
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from export.data import DataSettings, load_dataset
from export.settings import FineTuneSettings
from export.training import trainer
from export.training.finetune import assist, fine_tune
from export.training.processes import world

from support import TINY, TINY_SETTINGS


def settings_of(**changes: Any) -> FineTuneSettings:
    """Tiny settings without dropout, whose masks no two processes share."""
    chosen = replace(TINY_SETTINGS.effective, **({"epochs": 2, "batch_size": 8} | changes))
    small = replace(TINY, dim=16, hidden_dim=32, dropout=0.0)
    run = replace(TINY_SETTINGS.run, baselines=(), save_every=4)
    return replace(TINY_SETTINGS, small=small, hyperparameters=chosen, run=run)


def main(data: str, destination: str, options: str) -> None:
    """Run this process's part."""
    torch.set_num_threads(1)
    changes: dict[str, Any] = json.loads(options)
    fails = changes.pop("fails", None)
    if fails == world().rank:
        trainer.ResumableTrainer.take_in_step = _fails  # type: ignore[method-assign]
    dataset = load_dataset(DataSettings(source=data))
    part = fine_tune if world().leads else assist
    part(dataset, settings_of(**changes), Path(destination))


_take_in_step = trainer.ResumableTrainer.take_in_step


def _fails(self: trainer.ResumableTrainer) -> None:
    if self.state.global_step == 5:
        raise RuntimeError("this process has a bad day")
    _take_in_step(self)


if __name__ == "__main__":
    main(*sys.argv[1:])
