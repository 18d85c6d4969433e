"""The record that came with a checkpoint, if it came with one of ours."""

from __future__ import annotations

import json
from pathlib import Path

from export.training.record import RUN_FILE, TrainingRecord, is_run, read_record


def record_of(folder: Path) -> TrainingRecord | None:
    """What a checkpoint's own training.json says.

    Args:
        folder: the checkpoint's.

    Returns:
        None where there is none, or another program has given a file of its own this name.

    Raises:
        UserError: it is ours and corrupt.
    """
    if not is_run(folder) or _is_foreign(folder / RUN_FILE):
        return None
    return read_record(folder)


def _is_foreign(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False  # ours, and broken
    return not (isinstance(content, dict) and "schema_version" in content)
