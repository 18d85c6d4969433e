"""Hashes of what a result depends on: a reference, packages, our own source files, a processor."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from runtime.files import canonical_json, files_below

if TYPE_CHECKING:
    from export.reference import Reference

_EXPORT = Path(__file__).resolve().parent
# Of a configuration: where it came from and who wrote it, not what it says.
_ORIGIN = ("_name_or_path", "transformers_version")
# What a reference's answers, and every conversion, are made with.
_TOOLS = ("torch", "transformers", "numpy")

_known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def reference_sha256(reference: Reference) -> str:
    """Hash of the function that a reference is: weights, configuration, modules, pooling.

    A reference's module is frozen, so that each is read once a run.
    """
    module: Any = reference.module
    if module not in _known:
        config = json.loads(module.model.config.to_json_string(use_diff=False))
        settings = getattr(module, "settings", None)  # of sentence vectors
        facts = {
            "config": {name: config[name] for name in config if name not in _ORIGIN},
            "attention": module.model.config._attn_implementation,
            # Names every module with its sizes and its epsilon, which are not in the weights.
            "modules": repr(module),
            "family": module.family.name,
            "output": reference.output,
            "settings": asdict(settings) if settings else None,
        }
        digest = hashlib.sha256(canonical_json(facts, indent=None).encode())
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().contiguous().numpy().data)
        _known[module] = digest.hexdigest()
    return _known[module]


@functools.cache
def sources_sha256(*places: str) -> str:
    """Hash of Python files of ours.

    Args:
        places: files and folders below ``export/``.
    """
    digest = hashlib.sha256()
    for place in places:
        path = _EXPORT / place
        for file in files_below(path) if path.is_dir() else [path]:
            if file.suffix == ".py":
                digest.update(f"\n{file.relative_to(_EXPORT).as_posix()}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def versions(packages: Iterable[str] = ()) -> str:
    """Python and packages as installed, torch and transformers always among them."""
    found = {"python": platform.python_version()}
    for name in (*_TOOLS, *packages):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return canonical_json(found, indent=None).strip()
