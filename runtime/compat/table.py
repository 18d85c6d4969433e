"""What old runtimes did, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from runtime.compat.judge import FAILURES, Outcome, Ran, lowest_right, worst_of
from runtime.compat.run import CompatReport
from runtime.console import out
from runtime.manifest import ArtifactSpec

_STYLE: dict[Outcome, str] = {
    "right": "green",
    "refused": "dim",
    "unjudged": "yellow",
    "silent": "bold red",
    "crashed": "bold red",
    "garbage": "bold red",
}


def print_compat(report: CompatReport, artifacts: Sequence[ArtifactSpec]) -> None:
    """Tables, reasons, what could not be had, and what the manifest may promise."""
    for kind in dict.fromkeys(artifact.format for artifact in artifacts):
        mine = [artifact for artifact in artifacts if artifact.format == kind]
        if any(ran.runtime.format == kind for ran in report.runs):
            out.print(_table(report, mine))
    for line in (*_reasons(report.runs), *_skipped(report), *_lowest(report, artifacts)):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    for line in report.contradictions:
        out.print("  error:", style="bold red", end=" ")
        out.print(line, markup=False, soft_wrap=True)


def summary(report: CompatReport) -> str:
    """``garbage: 1, crashed: 0, right: 30, refused: 4; the manifest keeps its promises``."""
    counts = {name: sum(ran.outcome == name for ran in report.runs) for name in _STYLE}
    shown = [f"{n} {name}" for name, n in counts.items() if n or name == "garbage"]
    promises = len(report.contradictions)
    kept = f"{promises} promises of the manifest broken" if promises else "no promise broken"
    return f"{', '.join(shown)}; {kept}"


def _table(report: CompatReport, artifacts: Sequence[ArtifactSpec]) -> Table:
    cases = max((ran.cases for ran in report.runs), default=0)
    table = Table(
        title=f"{report.bundle.manifest.name} in old runtimes, {cases} golden texts each",
        title_justify="left",
    )
    table.add_column("runtime")
    table.add_column("Python")
    for artifact in artifacts:
        table.add_column(artifact.path, overflow="fold")
    paths = [artifact.path for artifact in artifacts]
    places: dict[str, dict[str, Ran]] = {}
    for ran in report.runs:
        if ran.artifact in paths:
            places.setdefault(ran.where, {})[ran.artifact] = ran
    for where, found in places.items():
        first = next(iter(found.values()))
        table.add_row(where, first.python, *(_cell(found.get(path)) for path in paths))
    return table


def _cell(ran: Ran | None) -> str:
    if ran is None:
        return ""
    word = ran.outcome.upper() if ran.outcome in FAILURES else ran.outcome
    figure = ran.figures.get("sqnr_db")
    shown = f" {figure:.1f} dB" if figure is not None and ran.outcome != "refused" else ""
    return f"[{_STYLE[ran.outcome]}]{word}[/]{shown}"


def _reasons(runs: Sequence[Ran]) -> list[str]:
    """Each reason once, with the artifacts and runtimes that gave it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for ran in runs:
        if ran.why:
            found.setdefault((ran.artifact, ran.outcome, ran.why), []).append(ran.where)
    return [
        f"{artifact} {outcome} in {', '.join(places)}: {_short(why)}"
        for (artifact, outcome, why), places in found.items()
    ]


def _short(why: str) -> str:
    """Beginning and end: a runtime names itself first, and what is wrong last."""
    return why if len(why) <= 240 else f"{why[:80]} … {why[-150:]}"


def _skipped(report: CompatReport) -> list[str]:
    return [f"skipped {name}: {why}" for name, why in report.skipped.items()]


def _lowest(report: CompatReport, artifacts: Sequence[ArtifactSpec]) -> list[str]:
    promised = {artifact.path: artifact.minimum_runtime for artifact in artifacts}
    claims = {ran.runtime.package: ran.runtime.claim for ran in report.runs}
    lines = []
    for (path, package), outcomes in worst_of(report.runs).items():
        low = lowest_right(outcomes)
        claim = promised[path].get(claims[package])
        said = f"; the manifest promises {claims[package]} {claim}" if claim else ""
        run = f"right from {low} on" if low else "right in none up to the newest that ran"
        lines.append(f"{path}: {package} {run}{said}")
    return lines
