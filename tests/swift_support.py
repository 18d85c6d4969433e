"""What the tests of the iOS package share: its compiler, and bundles that were changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.swift import SwiftProgram, SwiftTools, swift_program, swift_tools
from runtime.bundle import MANIFEST, Bundle
from runtime.files import canonical_json, sha256_of


def tools_or_skip() -> SwiftTools:
    """The compiler; without a network or namespaces the tests that need it skip."""
    try:
        tools = swift_tools()
        tools.run("true", mounts={})
    except ToolUnavailableError as error:
        pytest.skip(str(error))
    return tools


def program_or_skip() -> SwiftProgram:
    """The package's command line, compiled."""
    return swift_program(tools_or_skip())


def copied(bundle: Bundle, folder: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(bundle.path, folder / "bundle"))


def rehash(copy: Path, name: str) -> None:
    """Let the manifest promise a file as it is now."""
    value = json.loads((copy / MANIFEST).read_bytes())
    entry = next(file for file in value["files"] if file["path"] == name)
    entry |= {"bytes": (copy / name).stat().st_size, "sha256": sha256_of(copy / name)}
    (copy / MANIFEST).write_text(canonical_json(value))


def changed(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and nothing else."""
    value = json.loads((copy / MANIFEST).read_bytes())
    change(value)
    (copy / MANIFEST).write_text(canonical_json(value))
