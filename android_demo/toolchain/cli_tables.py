"""The command that writes the Unicode tables of the three tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_ROOT = Path(__file__).resolve().parents[1]


def register(app: typer.Typer) -> None:
    """Add the command ``unicode-tables``."""
    app.command("unicode-tables")(unicode_tables)


def unicode_tables(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file would change.")
    ] = False,
) -> None:
    """Ask the installed `tokenizers` about every code point and write the tables.

    Exit status: 0 written or as they should be, 1 a file differs (with --check).
    """
    # Half a second of imports that no other command needs.
    import tokenizers

    from android_demo.toolchain.unicode_probe import probe
    from android_demo.toolchain.unicode_tables import contents, write_tables
    from runtime.cli_support import FAIL
    from runtime.console import out

    facts = probe()
    if not check:
        for path in write_tables(_ROOT, facts, tokenizers.__version__):
            out.print(f"wrote {path.relative_to(_ROOT)}", markup=False)
        return
    changed = [
        name
        for name, text in contents(facts, tokenizers.__version__).items()
        if not (_ROOT / name).is_file() or (_ROOT / name).read_text(encoding="utf-8") != text
    ]
    for name in changed:
        out.print(f"{name} differs: run this command without --check", markup=False)
    if changed:
        raise typer.Exit(FAIL)
