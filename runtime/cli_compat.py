"""compat: run a bundle's artifacts in the old runtimes that still install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from runtime.cli_support import ERROR, FAIL
from runtime.compat.run import CompatSettings, artifacts_of, environments_folder, run_compat
from runtime.compat.runtimes import DEFAULT_LIST, chosen, read_runtimes
from runtime.console import err, note, out, progress_bar
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically
from runtime.parity.api import open_judged


def compat_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, such as dist/tflite.")],
    artifact: Annotated[
        str | None, typer.Option(help="Only these: file name, format, recipe or precision.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only these runtimes, with commas: PACKAGE or PACKAGE==VERSION."),
    ] = None,
    texts: Annotated[
        int,
        typer.Option(
            min=0,
            help="Natural texts, and as many nearly undecided ones, beside all awkward ones; 0 "
            "takes all.",
        ),
    ] = 64,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Also run TFLite files without a delegate."),
    ] = False,
    patience: Annotated[
        float, typer.Option(min=1.0, help="Seconds without an answer until a runtime is cut off.")
    ] = 300.0,
    runtimes: Annotated[
        Path, typer.Option(help="The list of runtimes, TOML.", show_default=False)
    ] = DEFAULT_LIST,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Keep the outcomes in this file of evidence, from which exports state the minimum."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--json", help="Also write the report as JSON.")
    ] = None,
) -> None:
    """Really run every artifact in old runtimes: right or a refusal, never garbage.

    Each runtime gets an environment of its own, made once with pip below build/compat; one that
    cannot be had is skipped with a line.

    Exit status: 0 if every artifact was right or refused everywhere and the manifest promises no
    more, 1 if not (a crash or a hang counts), 2 if something could not be judged.
    """
    for path in (record, report):
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{path} cannot be written", why=f"{path.parent} is not a folder")
    opened, golden, gates = open_judged(bundle)
    artifacts = artifacts_of(opened, artifact)
    wanted = chosen(read_runtimes(runtimes), [a.format for a in artifacts], only)
    with progress_bar("running") as progress:
        result = run_compat(
            opened,
            artifacts,
            golden,
            gates,
            wanted,
            CompatSettings(texts=texts, patience=patience, plain=plain),
            folder=environments_folder(),
            progress=progress,
            say=lambda text: err.print(f"[dim]·[/] {escape(text)} …"),
            found=lambda ran: note(f"  {ran.artifact} in {ran.where}: {ran.outcome}"),
        )
    from runtime.compat.document import compat_document
    from runtime.compat.evidence import recorded
    from runtime.compat.table import print_compat, summary

    print_compat(result, artifacts)
    if report is not None:
        write_atomically(report, canonical_json(compat_document(result)))
        out.print(f"report: {report}", markup=False)
    if record is not None:
        write_atomically(record, recorded(record, result))
        out.print(f"evidence: {record}", markup=False)
    out.print(f"compat: {summary(result)}", style="bold", markup=False)
    if result.failed:
        raise typer.Exit(FAIL)
    if result.open:
        raise typer.Exit(ERROR)
