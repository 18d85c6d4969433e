"""Commands: android, apk, apk-check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from android_demo.toolchain.assets import (
    PLAY_BASE_MODULE,
    Installed,
    check_assets,
    install_bundle,
)
from runtime.cli_support import FAIL
from runtime.console import err, megabytes, note, out, stage
from runtime.errors import UserError

BundleArgument = Annotated[
    Path | None, typer.Argument(help="A bundle's folder, such as dist/tflite.", show_default=False)
]
AllowFailed = Annotated[
    bool, typer.Option("--allow-failed", help="Ship artifacts whose gate did not pass.")
]
DEFAULT_APK = Path("dist/apk/mobile-export-smoke.apk")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(name="android")(android_command)
    app.command(name="apk")(apk_command)
    app.command(name="apk-check")(apk_check_command)


def android_command(
    bundle: BundleArgument = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare what is there with its manifest.")
    ] = False,
    allow_failed: AllowFailed = False,
) -> None:
    """Put a bundle into the Android app's assets, every hash verified."""
    if check:
        if bundle is not None:
            raise UserError("both a bundle and --check were given", todo="give one of them")
        _print_installed(check_assets())
        out.print("every file is as the manifest says", style="bold green")
        return
    installed = install_bundle(_given(bundle), allow_failed=allow_failed)
    _print_installed(installed)
    if installed.bytes > PLAY_BASE_MODULE:
        err.print(
            f"warning: Google Play has allowed {PLAY_BASE_MODULE // 10**6} MB (compressed; lately "
            "500) for an app without asset packs: export fewer or smaller artifacts, such as "
            "RECIPE=int8",
            style="yellow",
            soft_wrap=True,
        )
    out.print("next: open android_demo in Android Studio, or: make apk BUNDLE=…", markup=False)


def apk_command(
    bundle: BundleArgument = None,
    out_file: Annotated[Path, typer.Option("--out", help="The APK to write.")] = DEFAULT_APK,
    allow_failed: AllowFailed = False,
) -> None:
    """Build a smoke APK here, without Gradle, and check it point by point."""
    from android_demo.toolchain.apk import build_apk

    build_apk(_given(bundle), out_file, stage, say=_indented, allow_failed=allow_failed)
    out.print(f"{out_file} ({megabytes(out_file.stat().st_size)})", markup=False, soft_wrap=True)
    out.print(
        "a smoke build: it cannot classify on a phone, because LiteRT's library is not in it; "
        "Android Studio builds the real one",
        markup=False,
        soft_wrap=True,
    )
    _check(out_file, bundle)


def apk_check_command(
    apk: Annotated[Path, typer.Argument(help="A smoke APK.")] = DEFAULT_APK,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that it should carry.", show_default=False)
    ] = None,
) -> None:
    """Check a smoke APK: signature, manifest, model, assets, classes."""
    _check(apk, bundle)


def _check(apk: Path, bundle: Path | None) -> None:
    from android_demo.toolchain.apk_check import check_apk, expected_from_sources
    from android_demo.toolchain.debian_tools import get_android_tools
    from android_demo.toolchain.kotlin import kotlin_tools

    kotlin, tools = kotlin_tools(_indented), get_android_tools(_indented)
    expected = expected_from_sources(kotlin, tools, bundle, _indented)
    checks = check_apk(apk, expected, kotlin.java, tools)
    table = Table()
    for column in ("", "check", "found"):
        table.add_column(column)
    for check in checks:
        mark = "[red]FAIL[/]" if check.problems else "[green]ok[/]"
        table.add_row(mark, check.name, check.found)
    out.print(table)
    problems = [f"{check.name}: {problem}" for check in checks for problem in check.problems]
    for problem in problems:
        err.print(problem, style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(FAIL)
    out.print(f"PASS: all {len(checks)} checks hold", style="bold green")


def _given(bundle: Path | None) -> Path:
    if bundle is None:
        raise UserError("no bundle was given", todo="name its folder, such as dist/tflite")
    return bundle


def _indented(text: str) -> None:
    note(f"  {text}")


def _print_installed(installed: Installed) -> None:
    manifest = installed.manifest
    out.print(f"{manifest.name} in {installed.folder}", markup=False, soft_wrap=True)
    table = Table()
    for column in ("artifact", "recipe", "size", "gate"):
        table.add_column(column)
    for artifact in installed.artifacts:
        gate = "pass" if artifact.gate == "pass" else f"[red]{artifact.gate}[/]"
        table.add_row(artifact.path, artifact.recipe, megabytes(artifact.bytes), gate)
    out.print(table)
    out.print(f"{len(manifest.files)} other files; {megabytes(installed.bytes)} in all")
    if left := installed.left_out:
        saved = megabytes(sum(artifact.bytes for artifact in left))
        names = ", ".join(artifact.path for artifact in left)
        out.print(f"left out, {saved}: {names}", markup=False, soft_wrap=True)
