"""One module per runtime; each declares FORMAT and is found by it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from runtime.errors import UserError
from runtime.manifest import ArtifactSpec
from runtime.plugins import modules_by
from runtime.sessions.base import Session, SessionModule, SessionSettings

__all__ = ["Session", "SessionSettings", "open_session", "session_modules"]


def session_modules() -> dict[str, SessionModule]:
    """Format → the module that runs it."""
    return cast("dict[str, SessionModule]", modules_by(sys.modules[__name__], "FORMAT"))


def open_session(path: Path, spec: ArtifactSpec, settings: SessionSettings) -> Session:
    """Load an artifact with the runtime of its format.

    Raises:
        UserError: no module runs the format, or the runtime is missing or refuses the file.
    """
    modules = session_modules()
    if spec.format not in modules:
        raise UserError(
            f"{spec.path} has the format {spec.format!r}",
            why=f"this release runs {', '.join(modules)}",
        )
    return modules[spec.format].open_session(path, spec, settings)
