"""Commands: fetch, test-core and jvm."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from android_demo.toolchain.downloads import debian_folder, wheel_folder
from android_demo.toolchain.junit import run_junit
from android_demo.toolchain.jvm import jvm_program
from android_demo.toolchain.kotlin import CompileError, kotlin_tools
from android_demo.toolchain.pins import pins
from android_demo.toolchain.projects import (
    CORE_TESTS,
    DEMO,
    compile_core,
    compile_core_tests,
    junit_jars,
)
from runtime.cli_support import FAIL
from runtime.console import err, out


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("fetch")(fetch)
    app.command("test-core")(test_core)
    app.command("jvm", context_settings={"ignore_unknown_options": True})(jvm)


def tell(line: str) -> None:
    """Progress, on standard error."""
    err.print(f"· {line}", style="dim", markup=False, soft_wrap=True)


def fetch(
    everything: Annotated[
        bool, typer.Option("--all", help="The large ones too, such as the Swift compiler.")
    ] = False,
) -> None:
    """Fetch the pinned tools, so that all else works without a network."""
    for name, wheel in pins().wheels.items():
        out.print(f"{wheel.requirement}  {wheel_folder(name, tell)}", markup=False, soft_wrap=True)
    for name, debian in pins().debian.items():
        if debian.large and not everything:
            continue
        packages = " ".join(debian.packages)
        out.print(f"{packages}  {debian_folder(name, tell)}", markup=False, soft_wrap=True)


def test_core() -> None:
    """Compile core/ and run its JUnit tests; status 1 if one fails."""
    tools = kotlin_tools(tell)
    try:
        core = compile_core(tools, tell)
        tests = compile_core_tests(tools, core, CORE_TESTS, tell)
    except CompileError as error:
        for diagnostic in error.diagnostics:
            err.print(str(diagnostic), markup=False, soft_wrap=True)
        raise
    results = run_junit(tools, tests, (core, *junit_jars()), folder=DEMO / "core")
    for failure in results.failures:
        out.print(f"FAILED {failure}", style="red", markup=False, soft_wrap=True)
    out.print(f"core: {results.tests} tests, {len(results.failures)} failed")
    if results.failures:
        raise typer.Exit(FAIL)


def jvm(arguments: Annotated[list[str], typer.Argument(help="See: jvm help")]) -> None:
    """Run the JVM program: ids, classify or replay."""
    program = jvm_program(tell)
    # Its standard input, output and status are ours.
    done = subprocess.run(program.command(*arguments), check=False)  # noqa: S603
    raise typer.Exit(done.returncode)
