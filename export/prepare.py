"""What becomes of the model before a target sees it: outliers are moved, weights rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from export.families.plain.one_position import at_one_position
from export.outliers.migrate import Migrated, migrated
from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.reference import Reference
from export.rounding import SEARCHED
from export.rounding.model import is_rounded, rounded
from export.targets.base import Job, Source
from export.training.quantized.on_grid import lies_on_grid
from runtime.console import progress_bar, stage


@dataclass(slots=True)
class Prepared:
    """What recipes of one run have in common, whatever their target, kept from one to the next.

    Attributes:
        moved: by `Recipe.outliers`.
        gradients: by the reference's identity: moments that embeddings are rounded with, by their
            names. Where no outlier was folded, that is the source's whatever the recipe asks for.
        rounded: by what it depends on; only the last, for it is as large as the model.
    """

    moved: dict[str, Migrated] = field(default_factory=dict)
    gradients: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    rounded: dict[object, Reference] = field(default_factory=dict)


def prepared_job(
    source: Source,
    recipe: Recipe,
    options: Mapping[str, str],
    scratch: Path,
    prepared: Prepared,
) -> Job:
    """The job of a recipe: its outliers are moved first, then its weights rounded.

    A target sees weights that are on their grid already, and is told to quantize them by their
    largest magnitudes, which finds the same integers again.

    Raises:
        UserError: a weight cannot be rounded as the recipe says.
    """
    if lies_on_grid(source.reference.module.model, recipe):
        # Tuned for this recipe: moving outliers would take the weights off the grid again.
        return Job(source, by_magnitude(recipe), options, scratch)
    moved = moved_outliers(source, recipe.outliers, prepared)
    job = Job(replace(source, reference=moved.reference), recipe, options, scratch, moved.divisors)
    if is_rounded(recipe):
        reference = _rounded(job, prepared)
        job = replace(
            job,
            source=replace(source, reference=reference),
            recipe=by_magnitude(recipe),
            unrounded=moved.reference,
        )
    return job


def by_magnitude(recipe: Recipe) -> Recipe:
    """The recipe that stores weights on their grid as they are."""

    def plain(rule: WeightsRule) -> WeightsRule:
        return replace(rule, algorithm="minmax") if rule.algorithm in SEARCHED else rule

    return replace(
        recipe,
        linear=plain(recipe.linear),
        embedding=plain(recipe.embedding),
        layers={name: plain(rule) for name, rule in recipe.layers.items()},
    )


def moved_outliers(source: Source, outliers: str, prepared: Prepared) -> Migrated:
    """The reference after its outliers were moved.

    Args:
        source: whose reference, and texts to measure on.
        outliers: as in `Recipe`.
        prepared: what was found before; it is added to.
    """
    if outliers == "keep":
        return Migrated(source.reference)
    if outliers not in prepared.moved:
        with stage("looking for outlier channels"):
            prepared.moved[outliers] = migrated(
                source.reference, source.calibration, divide=outliers == "divide"
            )
    return prepared.moved[outliers]


def _rounded(job: Job, prepared: Prepared) -> Reference:
    recipe = job.recipe
    layers = tuple(sorted(recipe.layers.items()))
    # References stay alive in `moved`, or are the source's own, so that an identity is nobody
    # else's; two ways with outliers differ where one found divisors.
    reference = id(job.source.reference)
    ways = recipe.outliers if job.divisors else ""
    key: Any = (reference, ways, recipe.linear, recipe.embedding, layers)
    if key not in prepared.rounded:
        prepared.rounded.clear()
        with stage(f"rounding weights for {recipe.file}"), progress_bar("rounding") as progress:
            prepared.rounded[key] = rounded(
                job.source.reference,
                recipe,
                job.source.calibration,
                job.divisors,
                smallest=LARGE_WEIGHT_ELEMENTS,
                transposed=at_one_position(job.source.reference.module).transposed,
                gradients=prepared.gradients.setdefault(reference, {}),
                progress=progress,
            )
    return prepared.rounded[key]
