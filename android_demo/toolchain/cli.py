"""``python -m android_demo.toolchain``: each part registers its own commands."""

from __future__ import annotations

import typer

from android_demo.toolchain import (
    cli_answers,
    cli_apk,
    cli_gradle,
    cli_jvm,
    cli_swift,
    cli_tables,
    cli_web,
)
from runtime.cli_support import run

# What is heavy, they import in their commands.
PARTS = (cli_jvm, cli_answers, cli_apk, cli_gradle, cli_web, cli_swift, cli_tables)


def make_app() -> typer.Typer:
    """The command line with every part's commands."""
    app = typer.Typer(
        help="Fetch compilers, build the demos, test them and compare their answers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for part in PARTS:
        part.register(app)
    return app


def main() -> None:
    """Run the command line; see `runtime.cli_support.run` for errors."""
    run(make_app())
