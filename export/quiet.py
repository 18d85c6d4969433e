"""Keeps the heavy packages from talking over our own progress and results.

Only chatter is silenced: errors still surface.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_LOGGERS = ("torchao", "torch.utils._pytree", "torch.onnx", "torch.export", "jax", "absl")


def be_quiet() -> None:
    """Turn off advice, telemetry and start-up chatter; whatever the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def no_warnings() -> None:
    """For the command line: Python warnings are for developers, not for its users."""
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drop warnings, log lines below ERROR and everything Python prints; exceptions pass."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
