"""Models whose modules may be replaced without a second copy of the weights."""

from __future__ import annotations

import copy
from typing import Any


def copy_sharing_parameters(model: Any) -> Any:
    """A copy whose modules may be replaced, on the original's parameters: do not write to them."""
    shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
