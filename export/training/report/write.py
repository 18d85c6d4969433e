"""training.json in a checkpoint folder → curves.png and training.html beside it."""

from __future__ import annotations

from pathlib import Path

from export.training.record import read_record
from export.training.report.curves import draw_curves
from export.training.report.page import training_page
from runtime.console import note
from runtime.errors import MissingExtraError
from runtime.files import write_atomically

CURVES, PAGE = "curves.png", "training.html"


def write_training_report(folder: Path) -> list[Path]:
    """Draw the report of a finished run; the same record gives the same files.

    Without matplotlib there is no picture, and the page says so.

    Args:
        folder: a checkpoint with its training.json.

    Returns:
        What was written.

    Raises:
        UserError: the record is missing or corrupt.
    """
    record = read_record(folder)
    written = []
    curves = None
    try:
        curves = draw_curves(record)
        write_atomically(folder / CURVES, curves)
        written.append(folder / CURVES)
    except MissingExtraError as error:
        note(f"  no training curves: {error}")
    write_atomically(folder / PAGE, training_page(record, folder.resolve().name, curves))
    return [*written, folder / PAGE]
