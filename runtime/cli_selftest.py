"""parity selftest: plants faults in copies of a bundle's artifacts and shows what catches each."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime.cli_report import JsonOption
from runtime.cli_support import ERROR, FAIL, PASS
from runtime.console import out, progress_bar
from runtime.files import canonical_json, write_atomically
from runtime.parity.api import one_of, open_judged
from runtime.parity.selftest import Outcome, SelfTest, Status, selftest

_STYLES: dict[Status, str] = {
    "caught": "green",
    "refused": "green",
    "missed": "bold red",
    "below": "yellow",
    "not applicable": "dim",
    "error": "bold yellow",
}
_SCHEMA = 1
_SHOWN, _LONGEST = 4, 90


def selftest_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, such as dist/tflite.")],
    artifact: Annotated[
        str | None, typer.Option(help="Only this artifact: file name, format or recipe.")
    ] = None,
    fault: Annotated[str | None, typer.Option(help="Only this fault, by its name.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Run every text on every copy, not a spread of them.")
    ] = False,
    report: JsonOption = None,
) -> None:
    """Plant faults in copies of the artifacts and check that the gate fails on each.

    Exit status: 0 every fault is caught, 1 one slipped through, 2 could not judge.
    """
    opened, golden, gates = open_judged(bundle)
    opened = one_of(opened, artifact)
    with progress_bar("planting") as progress:
        result = selftest(opened, golden, gates, fault=fault, full=full, progress=progress)
    out.print(outcome_table(result))
    for line in summary(result):
        out.print(line, markup=False, soft_wrap=True)
    if report is not None:
        write_atomically(report, canonical_json(selftest_document(result)))
        out.print(f"report: {report}", markup=False)
    raise typer.Exit({"pass": PASS, "fail": FAIL, "unknown": ERROR}[result.verdict])


def outcome_table(result: SelfTest) -> Table:
    """One row for each fault and artifact."""
    table = Table(title="Faults planted in copies of the artifacts", title_justify="left")
    for column in ("artifact", "fault", "outcome"):
        table.add_column(column)
    table.add_column("by", overflow="fold")
    before = ""
    for outcome in result.outcomes:
        if outcome.artifact != before and before:
            table.add_section()
        shown = "" if outcome.artifact == before else outcome.artifact
        before = outcome.artifact
        style = _STYLES[outcome.status]
        table.add_row(shown, outcome.fault, f"[{style}]{outcome.status}[/]", _how(outcome))
    return table


def _how(outcome: Outcome) -> str:
    if outcome.status == "caught":
        more = len(outcome.by) - _SHOWN
        return ", ".join(outcome.by[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    if outcome.status in ("missed", "below") and not math.isnan(outcome.effect):
        return (
            f"moves a logit by {outcome.effect:.1e}; the sound artifact errs by "
            f"{outcome.own_error:.1e}"
        )
    return shorten(outcome.note, _LONGEST, placeholder=" …")


def summary(result: SelfTest) -> list[str]:
    """What the table comes to, as lines."""
    caught, missed = result.count("caught", "refused"), result.count("missed")
    lines = [
        f"{control.artifact} cannot be tested: {control.trouble}"
        for control in result.controls
        if control.trouble
    ]
    lines += [
        f"missed: {o.fault} in {o.artifact}: {o.summary}"
        for o in result.outcomes
        if o.status == "missed"
    ]
    lines.append(f"{caught} of {caught + missed} faults caught")
    if below := result.count("below"):
        lines.append(
            f"{below} below the precision's own error: no figure on logits can tell them from "
            "rounding"
        )
    if other := result.count("not applicable"):
        lines.append(f"{other} not applicable, for the reasons in the table")
    if errors := result.count("error"):
        lines.append(f"{errors} could not be judged")
    return lines


def selftest_document(result: SelfTest) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "schema_version": _SCHEMA,
        "verdict": result.verdict,
        "controls": [
            {"artifact": c.artifact, "cases": len(c.rows), "trouble": c.trouble}
            for c in result.controls
        ],
        "outcomes": [
            {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in dataclasses.asdict(outcome).items()
            }
            for outcome in result.outcomes
        ],
    }
