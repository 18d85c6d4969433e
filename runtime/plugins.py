"""Finds the modules of a package by what they declare, so that a new one needs no list edited."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def modules_by(package: ModuleType, attribute: str) -> dict[str, ModuleType]:
    """Modules directly inside `package` that declare `attribute`, keyed by its value, sorted.

    The modules must be cheap to import: heavy packages are imported inside their functions.

    Raises:
        RuntimeError: two modules declare the same value (a programming mistake).
    """
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        key = getattr(module, attribute, None)
        if key is None:
            continue
        if key in found:
            raise RuntimeError(f"{module.__name__} and {found[key].__name__} both declare {key!r}")
        found[key] = module
    return dict(sorted(found.items()))
