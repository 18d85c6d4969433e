"""How a parity command ends: the table, the reports that were asked for, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli_support import ERROR, FAIL, PASS
from runtime.console import out
from runtime.files import canonical_json, write_atomically
from runtime.golden import Golden
from runtime.manifest import Manifest
from runtime.parity.document import parity_document
from runtime.parity.judge import ParityReport
from runtime.parity.table import print_details, terminal_table

if TYPE_CHECKING:
    from runtime.parity.bisect import LayerError

JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the report as JSON.")]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML, for CI.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write one HTML page.")]

EXIT = {"pass": PASS, "fail": FAIL, "unknown": ERROR}


def finish(
    result: ParityReport,
    golden: Golden,
    manifest: Manifest,
    report: Path | None,
    junit: Path | None,
    html: Path | None,
    layers: Mapping[str, Sequence[LayerError]] | None = None,
) -> None:
    """Print the table, write the reports that were asked for, and leave with the verdict.

    Args:
        result: the judge's.
        golden: the cases that were judged.
        manifest: of their bundle.
        report: where parity.json goes, if anywhere.
        junit: the same for JUnit XML.
        html: the same for the page.
        layers: artifact path → errors block by block, for the page.

    Raises:
        typer.Exit: always, with 0 for a pass, 1 for a fail and 2 for unknown.
    """
    out.print(terminal_table(result))
    print_details(result)
    if report is not None:
        write_atomically(report, canonical_json(parity_document(result)))
    if junit is not None:
        from runtime.parity.report import junit_xml

        write_atomically(junit, junit_xml(result))
    if html is not None:
        from runtime.parity.report import html_report

        write_atomically(html, html_report(result, golden, manifest, layers=layers))
    for path in (report, junit, html):
        if path is not None:
            out.print(f"report: {path}", markup=False)
    out.print(f"verdict: {result.verdict.upper()}", style="bold")
    raise typer.Exit(EXIT[result.verdict])
