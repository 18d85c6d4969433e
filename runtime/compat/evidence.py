"""What was really run, kept per recipe: an export's manifest states a minimum that ran.

`evidence.json` is written by ``mobile-runtime compat BUNDLE --record FILE`` on reference bundles
and committed. It only raises what the targets read from operator versions, and never lowers it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.compat.judge import OUTCOMES, Outcome, lowest_right, worst_of
from runtime.compat.run import CompatReport
from runtime.compat.runtimes import read_runtimes, version_key
from runtime.errors import BundleError
from runtime.files import canonical_json
from runtime.manifest import ArtifactSpec
from runtime.strict_json import read_dataclass

EVIDENCE_SCHEMA = 1
COMMITTED = Path(__file__).with_name("evidence.json")


@dataclass(frozen=True, slots=True)
class Seen:
    """One artifact of one bundle.

    Attributes:
        date: when it ran, UTC.
        sha256: of the artifact.
        parameters: of its model.
        outcomes: package → version → outcome, the worst of all ways that it ran.
    """

    date: str
    sha256: str
    parameters: int
    outcomes: dict[str, dict[str, Outcome]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it: ``FORMAT/RECIPE/FAMILY`` → model → what was seen."""

    schema_version: int
    recipes: dict[str, dict[str, Seen]]

    def of(self, format_name: str, recipe: str, family: str) -> dict[str, Seen]:
        """Model → what was seen of a recipe; empty where nobody ran it."""
        return self.recipes.get(_key(format_name, recipe, family), {})


def read_evidence(path: Path = COMMITTED) -> Evidence:
    """Read a file of evidence; one that is not there holds nothing.

    Raises:
        BundleError: not JSON, or not of this schema.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Evidence(EVIDENCE_SCHEMA, {})
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON", why=str(error)) from error
    found = read_dataclass(Evidence, value, path.name)
    if found.schema_version != EVIDENCE_SCHEMA:
        raise BundleError(f"{path} has the schema version {found.schema_version}")
    return found


def recorded(path: Path, report: CompatReport) -> str:
    """The file's new text: an artifact's runs take the place of those of the same model before.

    Raises:
        BundleError: the file is there and is no evidence.
    """
    before = read_evidence(path)
    manifest = report.bundle.manifest
    recipes = {key: dict(bundles) for key, bundles in before.recipes.items()}
    worst = worst_of(report.runs)
    for artifact in manifest.artifacts:
        outcomes = {package: new for (at, package), new in worst.items() if at == artifact.path}
        if not outcomes:
            continue
        key = _key(artifact.format, artifact.recipe, manifest.source.family)
        bundles = recipes.setdefault(key, {})
        # Not the bundle's name, which is often that of its format alone.
        label = f"{manifest.source.model} ({manifest.source.parameters / 1e6:.1f}M)"
        old = bundles.get(label)
        if old is not None and old.sha256 == artifact.sha256:
            # The same file: releases that did not run this time ran before.
            outcomes = {
                package: old.outcomes.get(package, {}) | outcomes.get(package, {})
                for package in sorted({*old.outcomes, *outcomes})
            }
        bundles[label] = Seen(
            date=datetime.now(UTC).date().isoformat(),
            sha256=artifact.sha256,
            parameters=manifest.source.parameters,
            outcomes=outcomes,
        )
    return canonical_json(asdict(Evidence(EVIDENCE_SCHEMA, recipes)))


def proven(minimum: Mapping[str, str], seen: Mapping[str, Seen]) -> dict[str, str]:
    """What a manifest may state: never below what the file's operators need, and run if possible.

    Args:
        minimum: runtime → lowest version by the operators of the file.
        seen: bundle → what was seen of the recipe that made it.

    Returns:
        For each runtime the lowest release that is not below `minimum`, ran and was right, as every
        newer one that ran; where no such release ran, `minimum`'s own.
    """
    found = {}
    for claim, computed in minimum.items():
        outcomes = outcomes_of(claim, seen)
        low = lowest_right(outcomes)
        ran = [
            version
            for version, outcome in outcomes.items()
            if low is not None
            and outcome == "right"
            and version_key(version) >= max(version_key(low), version_key(computed))
        ]
        found[claim] = min(ran, key=version_key) if ran else computed
    return found


def outcomes_of(claim: str, seen: Mapping[str, Seen]) -> dict[str, Outcome]:
    """What was seen of one key of `minimum_runtime`.

    Args:
        claim: such as ``tensorflow``, which tflite-runtime's versions answer, too.
        seen: bundle → what was seen of a recipe.

    Returns:
        Version → the worst outcome over bundles and packages.
    """
    listed = read_runtimes().runtimes
    merged: dict[str, Outcome] = {}
    for one in seen.values():
        for package, outcomes in one.outcomes.items():
            if package not in listed or listed[package].claim != claim:
                continue
            for version, outcome in outcomes.items():
                before = merged.get(version, OUTCOMES[0])
                merged[version] = max(before, outcome, key=OUTCOMES.index)
    return merged


def compatibility_document(
    artifacts: Sequence[ArtifactSpec], family: str, evidence: Evidence
) -> dict[str, Any]:
    """compatibility.json of a bundle: what was run behind each artifact's `minimum_runtime`.

    It tells of other bundles that the same recipe made, by the hash of what ran there, and holds no
    date: the same export gives the same bytes.

    Args:
        artifacts: the manifest's.
        family: of the model.
        evidence: all of it.
    """
    return {
        "schema_version": EVIDENCE_SCHEMA,
        "artifacts": {
            artifact.path: {
                "minimum_runtime": artifact.minimum_runtime,
                "ran": {
                    bundle: {
                        "sha256": seen.sha256,
                        "parameters": seen.parameters,
                        "outcomes": seen.outcomes,
                    }
                    for bundle, seen in evidence.of(
                        artifact.format, artifact.recipe, family
                    ).items()
                },
            }
            for artifact in artifacts
        },
    }


def _key(format_name: str, recipe: str, family: str) -> str:
    return f"{format_name}/{recipe}/{family}"
