"""Runs artifacts of a bundle on another processor and brings back what they did there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from runtime.bundle import Bundle
from runtime.emulation.cost import default_limit
from runtime.emulation.machines import EmulatedMachine, set_up
from runtime.emulation.process import Job, Progress, run_jobs
from runtime.emulation.shards import choose_rows, merge, split_rows
from runtime.errors import UserError
from runtime.golden import Golden
from runtime.manifest import ArtifactSpec
from runtime.parity.evidence import Evidence
from runtime.parity.results import read_results

# The invariances come after the last text and are not told of one by one.
PATIENCE = 1800.0


def emulate(
    bundle: Bundle,
    golden: Golden,
    artifacts: Sequence[ArtifactSpec],
    *,
    architecture: str,
    processor: str,
    rows: Sequence[int] | None = None,
    jobs: int = 2,
    patience: float = PATIENCE,
    progress: Progress = lambda _done, _total: None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Evidence, ...]:
    """What artifacts do on another processor; the first time the emulator is fetched.

    Args:
        bundle: must have been verified; the emulated program does not do it again.
        golden: its cases.
        artifacts: of the bundle.
        architecture: ``arm64`` or ``x86_64``.
        processor: qemu's name of it, such as ``cortex-a53``.
        rows: indices of the cases, ascending; without them `choose_rows`.
        jobs: emulators at a time.
        patience: seconds without a sign of life after which an emulator is ended.
        progress: called with cases done and in all.
        say: called with one line before something that takes time.

    Returns:
        One for each artifact, in their order.

    Raises:
        UserError: the emulator cannot be had, or a runtime refuses, dies or falls silent in it.
    """
    machine = set_up(architecture, processor, say)
    if rows is None:
        rows = choose_rows(golden, default_limit(bundle.manifest.source.parameters))
    parts = split_rows(golden, rows, jobs)
    with tempfile.TemporaryDirectory(prefix="mobile-export-") as name, machine.environment() as env:
        out = {
            (artifact.path, place): Path(name) / f"{number}-{place}.json"
            for number, artifact in enumerate(artifacts)
            for place in range(len(parts))
        }
        work = [
            _job(machine, bundle, artifact, parts[place], out[artifact.path, place])
            for artifact in artifacts
            for place in range(len(parts))
        ]
        run_jobs(work, env, at_once=jobs, patience=patience, progress=progress)
        return tuple(
            _evidence(
                machine,
                [read_results(out[artifact.path, p], bundle, golden) for p in range(len(parts))],
            )
            for artifact in artifacts
        )


def _job(
    machine: EmulatedMachine,
    bundle: Bundle,
    artifact: ArtifactSpec,
    rows: Sequence[int],
    out: Path,
) -> Job:
    command = [*machine.command, "-m", "runtime.emulation.worker", str(bundle.path.resolve())]
    command += ["--artifact", artifact.path, "--rows", ",".join(map(str, rows)), "--out", str(out)]
    return Job(f"{artifact.path} on {machine.processor}", tuple(command), len(rows))


def _evidence(machine: EmulatedMachine, parts: Sequence[tuple[Evidence, ...]]) -> Evidence:
    found = merge([evidence for part in parts for evidence in part])
    if found.machine.architecture != machine.architecture:
        raise UserError(
            f"the emulated program says that it runs on {found.machine.architecture}",
            why=f"{machine.architecture} was asked for",
        )
    _check_version(found.environment)
    where = replace(found.machine, processor=machine.processor, emulator=machine.qemu.name)
    return replace(found, machine=where)


def _check_version(environment: dict[str, str]) -> None:
    """A system that was placed by hand may hold other versions than this machine."""
    name, there = environment.get("runtime", ""), environment.get("version", "")
    try:
        here = version_of(name)
    except (PackageNotFoundError, ValueError):
        return
    if there != here:
        raise UserError(
            f"the emulated system has {name} {there} and this machine {here}",
            why="a difference would not be one of processors",
            todo="place the same version there, or remove the folder to have it fetched",
        )
