"""Keeps coremltools to itself: no chatter, no temporary files left behind."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from export.quiet import silent


@contextlib.contextmanager
def contained() -> Iterator[Path]:
    """Drop warnings, log lines below ERROR and everything Python prints; exceptions pass.

    coremltools makes a folder in the system's temporary folder for every model and removes it when
    the process ends, if it ends well. Inside this context they are all made in one folder, which is
    removed on the way out: whatever is to be kept must be saved before.

    Yields:
        that folder.
    """
    usual = tempfile.tempdir
    try:
        with tempfile.TemporaryDirectory(prefix="coreml_") as folder, silent():
            tempfile.tempdir = folder
            yield Path(folder)
    finally:
        tempfile.tempdir = usual
