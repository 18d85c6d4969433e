"""``gradle-check`` and ``page-check``: what can be said of the Gradle project without Gradle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from android_demo.toolchain.cli_jvm import tell
from runtime.cli_support import FAIL
from runtime.console import out


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("gradle-check")(gradle_check)
    app.command("page-check")(page_check)


def gradle_check() -> None:
    """Check Gradle scripts, catalog, wrapper, resources, manifest and the CI workflow."""
    from android_demo.toolchain.apk_resources import read_app_settings
    from android_demo.toolchain.app_files import app_problems
    from android_demo.toolchain.downloads import ROOT
    from android_demo.toolchain.gradle_files import gradle_problems, scripts
    from android_demo.toolchain.gradle_scripts import syntax_problems
    from android_demo.toolchain.kotlin import kotlin_tools
    from android_demo.toolchain.projects import DEMO
    from android_demo.toolchain.workflow_files import workflow_problems

    tools = kotlin_tools(tell)
    _finish(
        [
            *gradle_problems(DEMO, ROOT),
            *syntax_problems(scripts(DEMO), DEMO, tools, tell),
            *app_problems(DEMO / "app", read_app_settings().namespace),
            *workflow_problems(ROOT / ".github" / "workflows" / "android.yml", ROOT),
        ],
        "the Gradle project is consistent (Gradle itself did not run)",
    )


def page_check(
    apk: Annotated[Path, typer.Argument(help="an APK with native libraries")],
) -> None:
    """Check that an APK's native libraries fit devices with memory pages of 16 KB."""
    from android_demo.toolchain.pages import page_problems

    _finish(page_problems(apk), f"{apk}: every 64-bit library fits 16 KB pages")


def _finish(problems: Sequence[str], good: str) -> None:
    for problem in problems:
        out.print(problem, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(FAIL)
    out.print(good, markup=False, soft_wrap=True)
