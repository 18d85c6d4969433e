"""Silence for tools that print progress bars and notes to themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from export.quiet import silent

# oneDNN announces itself, and rounds constants otherwise on other processors.
_SETTINGS = {
    "LITERT_TORCH_SHOW_PROGRESS": "n",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, log lines below ERROR and everything Python prints; exceptions pass.

    The tools' native code reads its setting when it is loaded, so import the tools inside.
    """
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        with silent():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
