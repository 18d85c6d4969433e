"""Compiles the app for Android with nothing from Google's registry, and turns it into dex.

`core` and `app` are compiled apart, as Gradle does, so that the app cannot use what is internal to
`core`; both against Android's classes of API 23, so that neither can use what Android lacks.
LiteRT's classes come from declarations that are never packaged.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.debian_tools import AndroidTools, complaint
from android_demo.toolchain.downloads import Say, android_cache, filled, quiet
from android_demo.toolchain.kotlin import KotlinTools, Module, compile_module
from android_demo.toolchain.projects import CORE, DEMO
from runtime.errors import UserError
from runtime.files import files_below, sha256_of
from runtime.provisioning.tools import run_tool

LITERT_API = DEMO / "toolchain" / "litert_api"
_SECONDS = 600
# These programs live for seconds: only the first stage of just-in-time compilation pays.
JAVA_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# dx rewrites nothing: no invokedynamic, and no class files above Java 8.
_TARGET = "1.8"
_FLAGS = ("-Xlambdas=class", "-Xsam-conversions=class", "-Xstring-concat=inline")
_PACKAGE = re.compile(r"^package\s+([\w.]+)\s*;", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AppClasses:
    """Class folders.

    Attributes:
        core: of ``core/``.
        app: of ``app/``.
        litert: of LiteRT's declarations; compiled against, not packaged.
    """

    core: Path
    app: Path
    litert: Path


def compile_app(
    r_java: str, kotlin: KotlinTools, tools: AndroidTools, say: Say = quiet, *, app: Path
) -> AppClasses:
    """Compile ``core``, LiteRT's declarations and the app; each only if it changed.

    Args:
        r_java: aapt2's R.java. The Kotlin compiler reads the numbers from its source, so that no
            Java compiler is needed and no class R is packaged.
        kotlin: compiler and libraries.
        tools: for Android's classes.
        say: called with one line before something that takes time.
        app: the app's Kotlin files.

    Raises:
        CompileError: the sources do not compile.
    """
    android = (tools.android_jar,)
    core = compile_module(_module("core-android", (CORE,), android), kotlin, say)
    litert = compile_module(_module("litert-api", (LITERT_API,), android), kotlin, say)
    sources = (app, kept_r_java(r_java))
    classes = compile_module(_module("app-android", sources, (*android, core, litert)), kotlin, say)
    return AppClasses(core, classes, litert)


def class_names(folder: Path) -> frozenset[str]:
    """Internal names, such as ``dev/mobileexport/core/Bundle``, of a folder's classes."""
    files = (file.relative_to(folder).as_posix() for file in files_below(folder))
    return frozenset(name.removesuffix(".class") for name in files if name.endswith(".class"))


def dex(folders: tuple[Path, ...], kotlin: KotlinTools, tools: AndroidTools, out: Path) -> Path:
    """Turn class files into ``classes.dex``.

    Args:
        folders: with class files, or jars of them.
        kotlin: for Java.
        tools: for dx.
        out: a folder that exists.

    Returns:
        The file.

    Raises:
        UserError: dx's first words of complaint.
    """
    program = (*JAVA_FLAGS, "-Xmx1g", "-cp", str(tools.dx), "com.android.dx.command.Main")
    flags = ("--dex", "--min-sdk-version=26", f"--output={out}")
    run_java(kotlin.java, *program, *flags, *folders)
    file = out / "classes.dex"
    if not file.is_file():
        raise UserError("dx wrote no classes.dex")
    return file


def libraries_dex(kotlin: KotlinTools, tools: AndroidTools, say: Say = quiet) -> Path:
    """Kotlin's standard library and the JSON library as one dex file; made once.

    Raises:
        UserError: dx's first words of complaint.
    """
    digest = hashlib.sha256(
        "".join(sha256_of(jar) for jar in (*kotlin.libraries, tools.dx)).encode()
    ).hexdigest()

    def fill(new: Path) -> None:
        say("turning the Kotlin libraries into dex (once)")
        jar = new / "libraries.jar"
        _without_versions(kotlin.libraries, jar)
        dex((jar,), kotlin, tools, new)
        jar.unlink()

    folder = filled(android_cache() / "libraries-dex", {"sha256": digest}, fill)
    return folder / "classes.dex"


def run_java(java: Path, *arguments: str | Path) -> str:
    """Run a Java program and return what it printed.

    Raises:
        UserError: it failed; with its first words.
    """
    done = run_tool(str(java), *arguments, timeout=_SECONDS)
    if done.returncode:
        classes = [str(a) for a in arguments if re.fullmatch(r"com(\.\w+)+", str(a))]
        raise UserError(f"{(classes or [java.name])[0]} failed", why=complaint(done))
    return done.stdout


def _module(name: str, sources: tuple[Path, ...], classpath: tuple[Path, ...]) -> Module:
    return Module(
        name, sources, classpath=classpath, jvm_target=_TARGET, with_jdk=False, flags=_FLAGS
    )


def kept_r_java(text: str) -> Path:
    """R.java where the same content always has the same path, which the compiler's cache needs.

    Args:
        text: from `link_resources`.

    Raises:
        UserError: it has no package.
    """
    package = _PACKAGE.search(text)
    if package is None:
        raise UserError("aapt2 wrote an R.java without a package")
    digest = hashlib.sha256(text.encode()).hexdigest()
    inside = Path(*package[1].split("."), "R.java")

    def fill(new: Path) -> None:
        (new / inside).parent.mkdir(parents=True)
        (new / inside).write_text(text, encoding="utf-8")

    folder = android_cache() / "resources" / digest[:16]
    return filled(folder, {"sha256": digest}, fill) / inside


def _without_versions(jars: tuple[Path, ...], out: Path) -> None:
    """The classes of several jars; dx stumbles over module-info and classes of later Javas."""
    with zipfile.ZipFile(out, "w") as target:
        for jar in jars:
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    wanted = name.endswith(".class") and not name.endswith("module-info.class")
                    if wanted and not name.startswith("META-INF/"):
                        target.writestr(name, archive.read(name))
