"""parity bisect: where an artifact leaves the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.cli_report import JsonOption
from runtime.cli_support import ERROR, FAIL, PASS
from runtime.console import out
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically
from runtime.parity.bisect import bisect
from runtime.parity.bisect_document import bisect_document, conclusion, layer_table
from runtime.rejected import open_to_study
from runtime.sessions.base import SessionSettings
from runtime.trace import trace_of


def bisect_command(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle's folder, or OUT.rejected of an export.")
    ],
    artifact: Annotated[
        str | None, typer.Option(help="Only this artifact: file name, format or recipe.")
    ] = None,
    report: JsonOption = None,
    as_it_is: Annotated[
        bool,
        typer.Option("--as-it-is", help="Take files that were changed since the export."),
    ] = False,
) -> None:
    """Name the first block, then the first operation, whose result leaves its budget.

    Core ML packages run on the reference executor; Apple's runtime shows nothing of the inside.

    Exit status: 0 nothing diverges, 1 found, 2 could not tell.
    """
    opened = open_to_study(bundle, verify=not as_it_is)
    if opened.manifest.task.gives_vectors:
        raise UserError(
            "a bundle of sentence vectors cannot be bisected",
            why="it holds no trace of PyTorch's inside",
            todo="export the same checkpoint as a classifier and bisect that one",
        )
    trace = trace_of(opened)
    chosen = opened.manifest.artifacts if artifact is None else (opened.artifact(artifact),)
    settings = SessionSettings.of(opened.manifest.tokenizer, backend="reference")
    reports = []
    for spec in chosen:
        found = bisect(opened, spec, settings, trace)
        reports.append(found)
        out.print(layer_table(found))
        for line in conclusion(found):
            out.print(f"  {line}", markup=False, soft_wrap=True)
    if report is not None:
        write_atomically(report, canonical_json(bisect_document(reports)))
        out.print(f"report: {report}", markup=False)
    verdicts = {found.verdict for found in reports}
    raise typer.Exit(FAIL if "found" in verdicts else ERROR if "unknown" in verdicts else PASS)
