"""Command: ios-test."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ios-test")(ios_test)


def ios_test(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="A bundle with Core ML packages, whose golden texts are replayed."),
    ] = None,
) -> None:
    """Compile the iOS package, run its tests, check its calls of Core ML; status 1 on a problem.

    Fetches 470 MB of Debian's Swift once. Core ML is Apple's: what calls it is type-checked against
    its documented declarations and not run.
    """
    from android_demo.toolchain.cli_jvm import tell
    from android_demo.toolchain.swift import run_tests, style_problems, swift_tools, type_errors
    from runtime.bundle import open_bundle
    from runtime.cli_support import FAIL
    from runtime.console import out
    from runtime.errors import UserError

    if bundle is not None and all(
        artifact.format != "coreml" for artifact in open_bundle(bundle).manifest.artifacts
    ):
        raise UserError(
            f"{bundle} has no Core ML package", todo="export one with: make export TARGET=coreml"
        )
    tools = swift_tools(tell)
    with tempfile.TemporaryDirectory(prefix="mobile-export-ios-") as folder:
        tests = run_tests(tools, bundle, Path(folder), tell)
    problems = [*tests.failures, *type_errors(tools), *style_problems(tools)]
    for problem in problems:
        out.print(f"FAILED {problem}", style="red", markup=False, soft_wrap=True)
    out.print(
        f"ios: {tests.tests} tests, {tests.skipped} skipped, {len(problems)} problems; "
        "Core ML type-checked, not run"
    )
    if problems:
        raise typer.Exit(FAIL)
