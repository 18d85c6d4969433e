"""Keeps coremltools to itself: no chatter, no temporary files left behind."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def contained() -> Iterator[Path]:
    """Drop warnings, log lines below ERROR and everything Python prints; exceptions pass.

    coremltools makes a folder in the system's temporary folder for every model and removes it when
    the process ends, if it ends well. Inside this context they are all made in one folder, which is
    removed on the way out: whatever is to be kept must be saved before.

    Yields:
        that folder.
    """
    level = logging.root.manager.disable
    usual = tempfile.tempdir
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="coreml_") as folder,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            tempfile.tempdir = folder
            yield Path(folder)
    finally:
        tempfile.tempdir = usual
        logging.disable(level)
