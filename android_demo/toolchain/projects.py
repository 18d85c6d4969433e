"""The demo's own Kotlin modules, and the libraries that they are compiled against."""

from __future__ import annotations

from pathlib import Path

from android_demo.toolchain.downloads import ROOT, Say, debian_folder, quiet
from android_demo.toolchain.kotlin import KotlinTools, Module, compile_module

DEMO = ROOT / "android_demo"
CORE = DEMO / "core" / "src" / "main" / "kotlin"
CORE_TESTS = DEMO / "core" / "src" / "test" / "kotlin"
JVM = DEMO / "jvm" / "src" / "main" / "kotlin"

# As the Gradle module has it: whatever is public says so and names its type.
_CORE_FLAGS = ("-Xexplicit-api=strict",)


def compile_core(tools: KotlinTools, say: Say = quiet) -> Path:
    """Class folder of ``core/``.

    Raises:
        UserError: as `compile_module`.
    """
    return compile_module(Module("core", (CORE,), flags=_CORE_FLAGS), tools, say)


def compile_core_tests(
    tools: KotlinTools, core: Path, sources: Path = CORE_TESTS, say: Say = quiet
) -> Path:
    """Class folder of core's tests.

    Args:
        tools: from `kotlin_tools`.
        core: its class folder.
        sources: of the tests.
        say: told what is done.

    Raises:
        UserError: as `compile_module`.
    """
    classpath = (core, *junit_jars(say))
    module = Module("core-test", (sources,), classpath=classpath, friends=(core,))
    return compile_module(module, tools, say)


def compile_jvm(tools: KotlinTools, core: Path, say: Say = quiet) -> Path:
    """Class folder of ``jvm/``.

    Raises:
        UserError: as `compile_module`.
    """
    return compile_module(Module("jvm", (JVM,), classpath=(core,)), tools, say)


def junit_jars(say: Say = quiet) -> tuple[Path, ...]:
    """JUnit 4 and the matchers that it needs.

    Raises:
        UserError: as `debian_folder`.
    """
    jars = debian_folder("junit", say) / "usr" / "share" / "java"
    return tuple(jars / name for name in ("junit4.jar", "hamcrest.jar"))
