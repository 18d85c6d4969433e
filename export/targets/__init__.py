"""One module (or package) per format; each declares TARGET and is found by it."""

from __future__ import annotations

import sys
from typing import cast

from export.targets.base import Target
from runtime.plugins import modules_by

__all__ = ["Target", "targets"]


def targets() -> dict[str, Target]:
    """Target name → the module that makes it, sorted by name."""
    return cast("dict[str, Target]", modules_by(sys.modules[__name__], "TARGET"))
