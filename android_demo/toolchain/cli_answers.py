"""The command answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from android_demo.toolchain.answers import Comparison, columns, compare, fitting, read_texts
from android_demo.toolchain.cli_jvm import tell
from runtime.bundle import open_bundle
from runtime.cli_support import FAIL
from runtime.console import out
from runtime.files import write_atomically


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("answers")(answers)


def answers(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    texts: Annotated[
        Path,
        typer.Option(help="A text on each line; or JSON strings, in .jsonl on lines, in .json."),
    ],
    through: Annotated[
        str | None,
        typer.Option(
            help="Which programs to compare with Python, with commas: jvm, browser; by default "
            "all that run the bundle's formats."
        ),
    ] = None,
    answers_file: Annotated[
        Path | None,
        typer.Option("--out", help="Also write every program's ids, logits and labels as JSON."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """The same texts through Python, the JVM and the browser; status 1 if they differ."""
    opened = open_bundle(bundle)
    given = read_texts(texts)
    programs = fitting(opened) if through is None else through.split(",")
    asked = columns(opened, [name.strip() for name in programs if name.strip()], tell)
    kept: dict[str, Any] = {}
    found = compare(opened, asked, given, tell, kept)
    if answers_file is not None:
        everything = {"texts": given, "answers": kept}
        write_atomically(answers_file, json.dumps(everything, ensure_ascii=True) + "\n")
    if as_json:
        value = {
            "texts": len(given),
            "same": all(comparison.same for comparison in found),
            "comparisons": [comparison.to_json() for comparison in found],
        }
        out.print(json.dumps(value, ensure_ascii=True), soft_wrap=True, markup=False)
    else:
        out.print(_table(found, len(given)))
        for comparison in found:
            _show_differences(comparison)
    if not all(comparison.same for comparison in found):
        raise typer.Exit(FAIL)


def _table(found: list[Comparison], texts: int) -> Table:
    table = Table(title=f"{texts} texts", title_justify="left")
    for column in ("compared", "with", "other ids", "other labels", "largest logit difference", ""):
        table.add_column(column, justify="right" if column.startswith(("other", "la")) else "left")
    for comparison in found:
        distance = comparison.max_abs
        table.add_row(
            comparison.there,
            comparison.here,
            str(comparison.other_ids),
            str(comparison.other_labels),
            "other format" if distance is None else "none" if distance == 0 else f"{distance:.1e}",
            "[green]same[/]" if comparison.same else "[bold red]DIFFERENT[/]",
        )
    return table


def _show_differences(comparison: Comparison) -> None:
    for difference in comparison.differences:
        # Escaped: what differs is often what a terminal does not show.
        lines = [
            f"other {difference.what}, smallest text: {json.dumps(difference.smallest)}",
            f"  {comparison.here}: {difference.here['labels']} {difference.here['ids']}",
            f"  {comparison.there}: {difference.there['labels']} {difference.there['ids']}",
        ]
        out.print("\n".join(lines), markup=False, soft_wrap=True)
