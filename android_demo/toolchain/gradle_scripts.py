"""Parses Gradle scripts with the Kotlin compiler; what their names mean only Gradle knows."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from android_demo.toolchain.downloads import Say, android_cache, quiet
from android_demo.toolchain.kotlin import (
    CompileError,
    Diagnostic,
    KotlinTools,
    Module,
    compile_module,
)

_SYNTAX = "syntax error"


def syntax_problems(
    scripts: Sequence[Path], project: Path, tools: KotlinTools, say: Say = quiet
) -> list[str]:
    """Syntax errors of scripts, each as ``FILE:LINE:COLUMN: what``.

    Every script is compiled as the body of a function. Its names are unknown to the compiler
    (Gradle's classes cannot be had here), so of all it complains of only the syntax counts.

    Args:
        scripts: to parse.
        project: what the files in the result are relative to.
        tools: the compiler.
        say: told of what takes time.
    """
    android_cache().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=android_cache(), prefix=".scripts."))
    try:
        names = {}
        for number, script in enumerate(scripts):
            wrapped = folder / f"script{number}.kt"
            wrapped.write_text(_wrapped(script.read_text(encoding="utf-8"), number), "utf-8")
            names[wrapped.name] = str(script.relative_to(project))
        try:
            compile_module(Module("gradle-scripts", (folder,)), tools, say)
        except CompileError as error:
            return [
                _problem(found, names) for found in error.diagnostics if _SYNTAX in found.message
            ]
        return []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wrapped(text: str, number: int) -> str:
    """A script as a function's body; its lines keep their numbers."""
    imports = re.findall(r"^import .*$", text, re.MULTILINE)
    body = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    head = "; ".join([*imports, f"private fun script{number}() {{ "])
    return f"{head}{body}\n}}\n"


def _problem(found: Diagnostic, names: dict[str, str]) -> str:
    file = names.get(Path(found.file).name, found.file)
    return f"{file}:{found.line}:{found.column}: {found.message}"
