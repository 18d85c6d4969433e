"""Makes every artifact of an export and reads each one back."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from export.content_cache import ContentCache
from export.prepare import Prepared, prepared_job
from export.recipes import Recipe
from export.reference import Reference
from export.reference_cache import cached_logits
from export.reference_trace import trace_reference
from export.targets.base import (
    Description,
    Effective,
    Source,
    Target,
    resolve_options,
)
from export.targets.parameters import layer_norm_epsilon, original_parameters
from export.targets.precision import check_layers, check_precision
from runtime.console import progress_bar, stage
from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION, EffectiveLogits, Golden
from runtime.trace import ReferenceTrace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Most cases that are run a second time to split the error: enough for every edge, and quick.
_SPLIT_VALIDATION, _SPLIT_BOUNDARY = 64, 32


@dataclass(frozen=True, slots=True)
class MadeArtifact:
    """A model in the staging folder, with its recipe and what was read back from it.

    Attributes:
        effective: PyTorch's logits with the artifact's own weights; None if the target cannot tell.
        trace: PyTorch's inside with these weights; None likewise.
    """

    target: Target
    recipe: Recipe
    description: Description
    effective: EffectiveLogits | None = None
    trace: ReferenceTrace | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target, and the recipes to make with it, each with its resolved options."""

    target: Target
    jobs: tuple[tuple[Recipe, Mapping[str, str]], ...]


def with_options(
    target: Target, recipes: list[Recipe], chosen: Mapping[str, str], lengths: tuple[int, ...]
) -> Wanted:
    """Resolve the options of each recipe.

    Raises:
        UserError: an option's value is unknown, or options, recipe and lengths do not go together.
    """
    jobs = tuple((recipe, resolve_options(target, recipe, chosen)) for recipe in recipes)
    for recipe, options in jobs:
        target.check(recipe, options, lengths)
    return Wanted(target, jobs)


def make_artifacts(
    wanted: Wanted,
    source: Source,
    golden: Golden,
    staging: Path,
    prepared: Prepared | None = None,
) -> list[MadeArtifact]:
    """Write every recipe's artifact of one target into `staging`, each checked against its recipe.

    Args:
        wanted: the target and what to make with it.
        source: what is exported.
        golden: as for `make_artifact`.
        staging: where the artifacts go.
        prepared: what targets of one run have in common; added to.

    Raises:
        UserError: the format or the recipe cannot be had, a large weight is not stored as the
            recipe says, or a stored weight is not what the recipe makes of the reference's.
    """
    scratch = scratch_of(wanted.target, staging)
    shared = Prepared() if prepared is None else prepared
    made = [
        make_artifact(
            wanted.target,
            recipe,
            options,
            source,
            golden,
            staging,
            scratch=scratch,
            prepared=shared,
        )
        for recipe, options in wanted.jobs
    ]
    shutil.rmtree(scratch)
    return made


def scratch_of(target: Target, staging: Path) -> Path:
    """The folder beside `staging` where a run keeps its float conversions, made if need be."""
    scratch = staging.parent / f"{target.TARGET}_scratch"
    scratch.mkdir(exist_ok=True)
    return scratch


def make_artifact(
    target: Target,
    recipe: Recipe,
    options: Mapping[str, str],
    source: Source,
    golden: Golden,
    folder: Path,
    *,
    scratch: Path,
    prepared: Prepared,
    traced: bool = True,
) -> MadeArtifact:
    """Write one recipe's artifact into `folder`, checked against its recipe.

    Args:
        target: the format.
        recipe: what to make.
        options: the target's own settings, resolved.
        source: what is exported.
        golden: the cases that PyTorch runs with the artifact's weights.
        folder: where the artifact goes.
        scratch: as `Job.scratch`: the same folder for artifacts of the same source.
        prepared: what recipes have in common, likewise; empty at first.
        traced: whether PyTorch's inside is wanted too, which only a bundle has use for.

    Raises:
        UserError: as `make_artifacts`.
    """
    check_layers(recipe, original_parameters(source.reference))
    path = folder / recipe.file
    job = prepared_job(source, recipe, options, scratch, prepared)
    with stage(f"{target.TARGET}: making {recipe.file}, {recipe.summary}"):
        target.make(job, path)
        description = target.describe(path)
        check_precision(description, recipe, recipe.file)
    effective = target.effective(path, job)
    logits = trace = None
    if effective is not None and _is_reference(effective, source.reference):
        rows = split_rows(golden)
        logits = EffectiveLogits(rows, golden.reference[list(rows)])
    elif effective is not None:
        own = effective_reference(source.reference, effective)
        with stage(f"PyTorch with the weights of {recipe.file}"), progress_bar("split") as bar:
            logits = _effective_logits(own, golden, source.cache, bar)
            if traced:
                lengths = description.lengths or source.lengths
                trace = trace_reference(own, golden, lengths, source.pad_id, artifact=recipe.file)
    return MadeArtifact(target, recipe, description, logits, trace)


def _is_reference(effective: Effective, reference: Reference) -> bool:
    """Whether an artifact stores the reference's own weights, so that nothing need be rerun."""
    original = original_parameters(reference)
    return (
        np.float32(layer_norm_epsilon(reference)) == np.float32(effective.layer_norm_eps)
        and original.keys() == effective.tensors.keys()
        and all(np.array_equal(original[name], a) for name, a in effective.tensors.items())
    )


def _effective_logits(
    own: Reference, golden: Golden, cache: ContentCache, progress: Callable[[int, int], None]
) -> EffectiveLogits:
    """PyTorch float32 with the weights that the artifact uses, on the cases of `split_rows`."""
    rows = split_rows(golden)
    ids = [golden.cases[row].input_ids for row in rows]
    logits = cached_logits(own, ids, cache, together=True, progress=progress)
    return EffectiveLogits(rows, logits)


def effective_reference(reference: Reference, effective: Effective) -> Reference:
    """A copy of the reference that holds an artifact's weights and epsilon."""
    model: PreTrainedModel = copy.deepcopy(reference.module.model)
    state = {name: torch.from_numpy(array.copy()) for name, array in effective.tensors.items()}
    model.load_state_dict(state, strict=True)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = effective.layer_norm_eps
    return reference.around(model)


def split_rows(golden: Golden) -> tuple[int, ...]:
    """Every awkward case, and others evenly spread: at most 64 validation, 32 boundary cases.

    Where no text has labels, 64 of those without.
    """
    rows = list(golden.rows(AWKWARD))
    natural = VALIDATION if len(golden.rows(VALIDATION)) else UNLABELLED
    for name, most in ((natural, _SPLIT_VALIDATION), (BOUNDARY, _SPLIT_BOUNDARY)):
        found = golden.rows(name)
        rows += list(found[:: max(1, -(-len(found) // most))])
    return tuple(sorted(int(row) for row in rows))
