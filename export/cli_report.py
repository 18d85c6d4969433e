"""The command that draws a training run anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import out


def report(
    checkpoint: Annotated[
        Path, typer.Argument(help="A fine-tuned checkpoint with its training.json.")
    ],
) -> None:
    """Draw curves.png and training.html of a finished run from its training.json."""
    from export.training.report import write_training_report

    for path in write_training_report(checkpoint):
        out.print(f"wrote {path}", markup=False, soft_wrap=True)
