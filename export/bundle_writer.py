"""Turns artifacts, tokenizer and reference into a bundle: judged first, manifest last."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from export.artifacts import MadeArtifact
from export.card import card
from export.data.task import TextDataset
from export.targets.precision import summarise
from runtime.bundle import (
    CARD,
    COMPATIBILITY,
    GOLDEN,
    LABELS,
    MANIFEST,
    PARITY,
    Bundle,
    describe_artifact,
)
from runtime.compat.evidence import Evidence, compatibility_document, proven, read_evidence
from runtime.files import canonical_json, sha256_of, write_atomically
from runtime.golden import Golden
from runtime.manifest import (
    SCHEMA_VERSION,
    ArtifactSpec,
    DataSpec,
    FileSpec,
    Manifest,
    SourceSpec,
    TaskSpec,
    TokenizerSpec,
    contract_sha256,
)
from runtime.parity.document import parity_document
from runtime.parity.judge import GateSpec, ParityReport, judge
from runtime.rejected import DRAFT

_TOOLS = ("mobile-export", "torch", "transformers", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest says besides the artifacts.

    Attributes:
        training: Markdown for the card: what the model was compared with when it was trained.
    """

    name: str
    task: TaskSpec
    tokenizer: TokenizerSpec
    source: SourceSpec
    data: DataSpec
    metrics: dict[str, float]
    training: str = ""

    @property
    def contract_sha256(self) -> str:
        """See `runtime.manifest.contract_sha256`."""
        return contract_sha256(self.task, self.tokenizer, self.source, self.data)


def data_spec(dataset: TextDataset) -> DataSpec:
    """The data as the manifest tells it; hashes every row."""
    return DataSpec(
        name=dataset.name,
        sha256=dataset.sha256(),
        rows={split: len(rows) for split, rows in dataset.splits.items()},
        problems=dataset.problem_counts(),
    )


def tool_versions(made: list[MadeArtifact]) -> dict[str, str]:
    """Python and every package that touches an artifact, as installed."""
    versions = {"python": platform.python_version()}
    for name in (*_TOOLS, *(name for item in made for name in item.target.PACKAGES)):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def draft_manifest(
    folder: Path, facts: Facts, made: list[MadeArtifact], evidence: Evidence
) -> Manifest:
    """A manifest without verdicts, enough for the judge to run the artifacts.

    Args:
        folder: of the artifacts.
        facts: what it says besides them.
        made: the artifacts.
        evidence: what old runtimes did with what these recipes make.
    """
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=facts.name,
        task=facts.task,
        tokenizer=facts.tokenizer,
        artifacts=tuple(_artifact(folder, item, facts.source.family, evidence) for item in made),
        files=(),
        source=facts.source,
        data=facts.data,
        metrics=facts.metrics,
        tools=tool_versions(made),
    )


def _artifact(folder: Path, item: MadeArtifact, family: str, evidence: Evidence) -> ArtifactSpec:
    size, sha256, files = describe_artifact(folder, item.recipe.file)
    seen = evidence.of(item.target.TARGET, item.recipe.name, family)
    return ArtifactSpec(
        path=item.recipe.file,
        format=item.target.TARGET,
        recipe=item.recipe.name,
        precision=item.recipe.precision,
        bytes=size,
        sha256=sha256,
        inputs=item.description.inputs,
        outputs=item.description.outputs,
        lengths=item.description.lengths,
        minimum_runtime=proven(item.description.minimum_runtime, seen),
        weights=summarise(item.description),
        gate="unknown",
        files=files,
    )


def judge_made(
    folder: Path,
    facts: Facts,
    made: list[MadeArtifact],
    golden: Golden,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Manifest, Golden, ParityReport]:
    """Judge the artifacts in `folder`, in which the tokenizer's files lie too.

    Returns:
        The manifest as yet without verdicts, the golden set with PyTorch's logits for the
        artifacts' own weights, and the verdict.

    Raises:
        UserError: a runtime is missing or refuses an artifact.
    """
    if facts.task.labels:
        write_atomically(folder / LABELS, "".join(f"{label}\n" for label in facts.task.labels))
    draft = draft_manifest(folder, facts, made, read_evidence())
    gates = {}
    for item in made:
        recipe = item.recipe.for_family(facts.source.family)
        gates[recipe.file] = GateSpec(recipe.gate, recipe.observed)
    effective = {item.recipe.file: item.effective for item in made if item.effective}
    golden = replace(golden, effective=effective)
    return draft, golden, judge(Bundle(folder, draft), golden, gates, progress=progress)


def judge_and_seal(
    folder: Path,
    facts: Facts,
    made: list[MadeArtifact],
    golden: Golden,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Manifest, ParityReport]:
    """Judge the artifacts in `folder`; write the rest of the bundle, the manifest only on a pass.

    parity.json is written whatever the verdict, so that a failure can be studied; so is, without a
    pass, the manifest that would have been, under a name that makes no bundle.

    Raises:
        UserError: a runtime is missing or refuses an artifact.
    """
    draft, golden, report = judge_made(folder, facts, made, golden, progress=progress)
    write_atomically(folder / PARITY, canonical_json(parity_document(report)))
    if report.verdict != "pass":
        write_atomically(folder / DRAFT, canonical_json(draft.to_json()))
        return draft, report
    verdicts = {artifact.path: artifact.verdict for artifact in report.artifacts}
    judged = replace(
        draft,
        artifacts=tuple(replace(a, gate=verdicts[a.path]) for a in draft.artifacts),
        metrics=facts.metrics | {f"reference_{report.metric}": report.reference_metric},
    )
    logits = {artifact.path: artifact.logits for artifact in report.artifacts}
    write_atomically(folder / GOLDEN, replace(golden, artifacts=logits).dump())
    by_format = {item.target.TARGET: item.target for item in made}
    usages: dict[str, None] = {}
    for artifact in judged.artifacts:
        target = by_format[artifact.format]
        usages[target.usage(artifact)] = None
        for name, text in target.companions(artifact).items():
            write_atomically(folder / name, text)
    write_atomically(folder / CARD, card(judged, report, [u for u in usages if u], facts.training))
    ran = compatibility_document(judged.artifacts, facts.source.family, read_evidence())
    write_atomically(folder / COMPATIBILITY, canonical_json(ran))
    manifest = replace(judged, files=_files(folder, judged))
    text = canonical_json(manifest.to_json())
    # Reading it back proves that what is about to be published can be opened.
    Manifest.from_json(json.loads(text))
    write_atomically(folder / MANIFEST, text)
    return manifest, report


def _files(folder: Path, manifest: Manifest) -> tuple[FileSpec, ...]:
    artifacts = {artifact.path for artifact in manifest.artifacts}
    return tuple(
        FileSpec(path.name, path.stat().st_size, sha256_of(path))
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in artifacts and path.name != MANIFEST
    )
