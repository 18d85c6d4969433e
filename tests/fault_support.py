"""What the tests of planted faults share: a damaged copy of one artifact, judged on every case."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runtime.bundle import GOLDEN, PARITY, Bundle, describe_artifact, open_bundle
from runtime.faults import read_artifact
from runtime.faults.catalogue import FAULTS, Context
from runtime.faults.graph import Graph
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import ArtifactReport, judge

Plant = Callable[[Graph, Context], None]
PLANTS: dict[str, Plant] = {fault.name: fault.plant for fault in FAULTS}


def one_artifact(folder: Path, name: str) -> Bundle:
    """A bundle as if it held one artifact; hashes are not compared."""
    bundle = open_bundle(folder, verify=False)
    only = tuple(a for a in bundle.manifest.artifacts if a.path == name)
    assert only, name
    return Bundle(bundle.path, replace(bundle.manifest, artifacts=only))


def with_bytes(bundle: Bundle, folder: Path, name: str, content: bytes) -> Bundle:
    """A copy of a bundle in which an artifact has other bytes, and the manifest says so."""
    shutil.copytree(bundle.path, folder)
    (folder / name).write_bytes(content)
    size, sha256, _ = describe_artifact(folder, name)
    artifacts = tuple(
        replace(a, bytes=size, sha256=sha256) if a.path == name else a
        for a in bundle.manifest.artifacts
    )
    return Bundle(folder, replace(bundle.manifest, artifacts=artifacts))


def plant_in(folder: Path, name: str, plant: Plant | None) -> None:
    """Damage an artifact of a copied bundle; None reads and writes it only."""
    bundle = one_artifact(folder, name)
    artifact = read_artifact(folder / name, bundle.manifest.artifacts[0])
    context = Context(read_golden(folder / GOLDEN), bundle.manifest.task)
    for graph in artifact.graphs if plant is not None else ():
        plant(graph, context)
    changed = folder.parent / f"changed-{name}"
    artifact.save(changed)
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    changed.rename(folder / name)


def judge_one(folder: Path, name: str) -> ArtifactReport:
    """The report on one artifact."""
    bundle = one_artifact(folder, name)
    report = judge(bundle, read_golden(folder / GOLDEN), read_gates(folder / PARITY))
    return report.artifacts[0]


def failed(report: ArtifactReport) -> set[str]:
    """Figures whose check failed."""
    return {check.figure for check in report.checks if check.verdict == "fail"}
