"""parity emulate: the same gate on other processors, side by side with this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from runtime.bundle import Bundle
from runtime.cli_report import HtmlOption, JsonOption, JunitOption, finish
from runtime.console import note, out, progress_bar
from runtime.emulation.cost import (
    DEFAULT_LIMIT,
    LARGE_LIMIT,
    default_limit,
    estimated_seconds,
)
from runtime.emulation.driver import PATIENCE, emulate
from runtime.emulation.machines import PROCESSORS, check_architecture, set_up
from runtime.emulation.shards import choose_rows
from runtime.errors import UserError
from runtime.golden import SETS, Golden
from runtime.parity.api import one_of, open_judged
from runtime.parity.evidence import Evidence
from runtime.parity.judge import judge_evidence
from runtime.parity.run import run_artifact, session_settings
from runtime.processor import architecture


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an artifact's logits on another processor are from those on this one.

    Attributes:
        largest: largest absolute difference, in logits; NaN if one is not a number.
        mean: mean absolute difference, in logits.
        other: share of the logits that are not bit-equal.
    """

    artifact: str
    machine: str
    largest: float
    mean: float
    other: float


def emulate_command(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder, such as dist/tflite.")
    ] = None,
    arch: Annotated[str, typer.Option(help="arm64, or x86_64 for older processors.")] = "arm64",
    cpu: Annotated[
        str,
        typer.Option(
            help="qemu's names with commas between: cortex-a53 has no dot product, neoverse-n1 and "
            "cortex-a76 have, max has all; Nehalem is SSE4, Haswell AVX2 without VNNI. By default "
            "one for each kind of arithmetic; for this machine's architecture, none."
        ),
    ] = "",
    artifact: Annotated[
        str | None,
        typer.Option(help="Only this artifact: file name, format or recipe."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Most natural texts, {DEFAULT_LIMIT} by default and {LARGE_LIMIT} for a "
            "full-size model; all others always run.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Emulators at a time.")] = 2,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds of silence after which an emulator is ended.")
    ] = PATIENCE,
    setup_only: Annotated[
        bool, typer.Option("--setup-only", help="Fetch the emulator and stop.")
    ] = False,
    report: JsonOption = None,
    junit: JunitOption = None,
    html: HtmlOption = None,
) -> None:
    """Judge a bundle on processors that this machine does not have, and on this one beside them.

    The first time this fetches qemu and, for arm64, a small Debian and the runtimes' own builds;
    it needs no root. Exit status: 0 pass, 1 fail, 2 could not judge.
    """
    check_architecture(arch)
    processors = _processors(arch, cpu)
    if setup_only:
        for name in processors or PROCESSORS[arch][1]:
            note(f"{name}: {set_up(arch, name, _say).qemu.name}")
        return
    if bundle is None:
        raise UserError("no bundle is named", todo="name its folder, such as dist/tflite")
    opened, golden, gates = open_judged(bundle)
    opened = one_of(opened, artifact)
    parameters = opened.manifest.source.parameters
    rows = choose_rows(golden, limit or default_limit(parameters))
    for name in processors:
        set_up(arch, name, _say)  # before an hour of running, and not in the middle of it
    where = ", ".join(("this machine", *processors))
    note(f"· {_cases(golden, rows)}, on {where}")
    for spec in opened.manifest.artifacts if processors else ():
        seconds = estimated_seconds(spec, golden, rows, parameters, jobs)
        note(f"  {spec.path}: about {max(1, round(seconds / 60))} min on each, if this one is idle")
    evidence = _run_all(opened, golden, rows, arch, processors, jobs, patience)
    result = judge_evidence(opened, golden, gates, evidence)
    if processors:
        out.print(differences_table(differences(evidence)))
    finish(result, golden, opened.manifest, report, junit, html)


def differences(evidence: Sequence[Evidence]) -> list[Difference]:
    """Every emulated run against the run on this machine.

    Args:
        evidence: of the same cases; for each artifact the one that is not emulated is the control.

    Raises:
        UserError: an artifact has no run on this machine, or not of the same cases.
    """
    controls = {found.artifact: found for found in evidence if not found.machine.emulator}
    found = []
    for there in evidence:
        if not there.machine.emulator:
            continue
        here = controls.get(there.artifact)
        if here is None or here.rows != there.rows:
            raise UserError(f"{there.artifact} did not run the same cases on this machine")
        with np.errstate(invalid="ignore"):
            change = np.abs(there.logits.astype(np.float64) - here.logits)
        same = there.logits.view(np.uint32) == here.logits.view(np.uint32)
        found.append(
            Difference(
                there.artifact,
                there.machine.name.removesuffix(", emulated"),
                float(change.max()),
                float(change.mean()),
                1 - float(same.mean()),
            )
        )
    return found


def differences_table(found: Sequence[Difference]) -> Table:
    """The same for the terminal."""
    table = Table(title="Logits on another processor against this machine's", title_justify="left")
    table.add_column("artifact", overflow="fold")
    table.add_column("processor", overflow="fold")
    for column in ("largest", "mean", "not bit-equal"):
        table.add_column(column, justify="right")
    for one in found:
        table.add_row(
            one.artifact,
            one.machine,
            f"{one.largest:.2e}",
            f"{one.mean:.2e}",
            f"{one.other:.0%}",
        )
    return table


def _run_all(
    bundle: Bundle,
    golden: Golden,
    rows: Sequence[int],
    wanted: str,
    processors: Sequence[str],
    jobs: int,
    patience: float,
) -> list[Evidence]:
    """This machine first, then the others; artifact by artifact."""
    settings = session_settings(bundle)
    evidence = []
    for spec in bundle.manifest.artifacts:
        with progress_bar(f"{spec.path} on this machine") as progress:
            evidence.append(
                run_artifact(
                    bundle,
                    spec,
                    golden,
                    settings,
                    lambda _, done, total, tell=progress: tell(done, total),  # type: ignore[misc]
                    rows=rows,
                )
            )
        for name in processors:
            with progress_bar(f"{spec.path} on {name}") as progress:
                evidence += emulate(
                    bundle,
                    golden,
                    [spec],
                    architecture=wanted,
                    processor=name,
                    rows=rows,
                    jobs=jobs,
                    patience=patience,
                    progress=progress,
                )
    return evidence


def _processors(wanted: str, cpu: str) -> tuple[str, ...]:
    """Those named; else this machine alone if it is of that architecture, or one of each kind."""
    named = tuple(dict.fromkeys(name.strip() for name in cpu.split(",") if name.strip()))
    if named or wanted == architecture():
        return named
    return PROCESSORS[wanted][1]


def _cases(golden: Golden, rows: Sequence[int]) -> str:
    counts = {name: sum(golden.cases[row].set == name for row in rows) for name in SETS}
    everything = {name: len(golden.rows(name)) for name in SETS}
    return ", ".join(
        f"{count} of {everything[name]} {name}" for name, count in counts.items() if count
    )


def _say(line: str) -> None:
    note(f"· {line} …")
