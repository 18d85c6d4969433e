"""Which checkpoint to trace, and what its logits mean."""

from __future__ import annotations

from pathlib import Path

from export.checkpoint import Checkpoint
from export.training.record import RUN_FILE
from export.training.thresholds import recorded_thresholds
from runtime.errors import UserError
from runtime.manifest import TaskSpec

# Where `mobile-export export` and `mobile-export finetune` leave checkpoints by default.
PLACES = ("build/checkpoints/*", "build/*")
_USUAL = 0.5


def newest_checkpoint(root: Path = Path()) -> Path:
    """The checkpoint that was finished last, below a folder.

    Raises:
        UserError: there is none.
    """
    found = {file for place in PLACES for file in root.glob(f"{place}/{RUN_FILE}")}
    if not found:
        raise UserError(
            "there is no model to trace",
            why="none was trained here yet, in build/checkpoints or build/finetuned",
            todo="name one with --model, or train one: make finetune",
        )
    return max(found, key=lambda file: (file.stat().st_mtime_ns, str(file))).parent


def task_of(checkpoint: Checkpoint) -> TaskSpec:
    """Labels and activation of a checkpoint's head, with the thresholds that its run has tuned.

    Raises:
        UserError: the record of the run is corrupt.
    """
    if not checkpoint.is_multi_label:
        return TaskSpec("single_label", "softmax", checkpoint.labels)
    tuned = recorded_thresholds(checkpoint.path)
    thresholds = tuple(tuned.get(label, _USUAL) for label in checkpoint.labels)
    return TaskSpec("multi_label", "sigmoid", checkpoint.labels, thresholds)
