"""The run in TensorBoard: loss and learning rate by step, validation by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    import transformers


def callback(folder: Path) -> transformers.TrainerCallback:
    """A callback for Trainer that writes event files; only the first process writes.

    Training continued from a checkpoint hides what the interrupted run had written of later steps.

    Args:
        folder: made if it does not exist; TensorBoard shows the folders in it side by side.

    Raises:
        MissingExtraError: the package is not installed.
        UserError: the folder cannot be made.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "tensorboard", extra="tensorboard", purpose="writing for TensorBoard"
        ) from error
    from transformers.integrations import TensorBoardCallback

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written", why=str(error.strerror), todo="choose another folder"
        ) from error

    class Writer(TensorBoardCallback):  # type: ignore[misc]
        """transformers' own, in the folder that was asked for."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if state.is_world_process_zero:
                self.tb_writer = SummaryWriter(str(folder), purge_step=state.global_step or None)
            super().on_train_begin(args, state, control, **others)

    return Writer()
