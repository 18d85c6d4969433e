"""Makes candidates and has them judged: the real converter, the real gate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from export.artifacts import MadeArtifact, make_artifact
from export.bundle_writer import Facts, judge_made
from export.prepare import Prepared
from export.recipes import Recipe
from export.search.ladder import weights_of
from export.search.mixture import NAME
from export.search.settings import size_words
from export.search.state import State, Trial, recipe_key
from export.targets.base import Source, Target, resolve_options
from export.targets.parameters import original_parameters
from runtime.bundle import describe_artifact
from runtime.console import note, progress_bar
from runtime.errors import UserError
from runtime.golden import Golden

# What the table tells of the gate's figures.
FIGURES = ("sqnr_db", "kl_mean", "flips", "decisions", "flip_rate", "flip_rate_bound")


class Workshop:
    """A target, a model and its texts, and a place to work in.

    Attributes:
        made: how many artifacts were made, for those who count.
    """

    def __init__(
        self,
        target: Target,
        chosen: Mapping[str, str],
        source: Source,
        golden: Golden,
        facts: Facts,
        state: State,
        tokenizer: Path,
        place: Path,
        scratch: Path,
    ) -> None:
        """Set up.

        Args:
            target: the format.
            chosen: options of targets that were named.
            source: what is exported.
            golden: the reference set.
            facts: of the bundle.
            state: what is known already; it is added to.
            tokenizer: folder with the tokenizer's files and nothing else.
            place: an empty folder, which the caller removes.
            scratch: as `export.artifacts.scratch_of`, so that what is converted here need not be
                converted again for the bundle.
        """
        self.target = target
        self.source = source
        self.prepared = Prepared()
        self.state = state
        self.made = 0
        self._chosen = chosen
        self._golden = golden
        self._facts = facts
        self._folder = place / "candidate"
        self._scratch = scratch
        shutil.copytree(tokenizer, self._folder)

    def attempt(self, recipe: Recipe, most: int | None = None) -> Trial:
        """Make an artifact and judge it, unless that was done before.

        Args:
            recipe: of the target.
            most: bytes: a larger artifact is not judged; None judges any.

        Raises:
            UserError: a runtime refuses the artifact, or the reference is not worth agreeing with.
        """
        key = recipe_key(recipe)
        known = self.state.trials.get(key)
        if known is not None and _is_enough(known, most):
            note(f"  {known.label}: known from an earlier run")
            return known
        label = recipe.summary if recipe.name == NAME else recipe.name
        try:
            trial = self._attempt(recipe, label, most)
        finally:
            self._clear(recipe)
        self.state.add_trial(key, trial)
        note(f"  {label}: {told(trial)}")
        return trial

    def _attempt(self, recipe: Recipe, label: str, most: int | None) -> Trial:
        try:
            made = make_artifact(
                self.target,
                recipe,
                resolve_options(self.target, recipe, self._chosen),
                self.source,
                self._golden,
                self._folder,
                scratch=self._scratch,
                prepared=self.prepared,
                traced=False,
            )
        except UserError as error:  # this recipe's misfortune: others may do
            return Trial(label, 0, problem=str(error))
        self.made += 1
        if not self.state.weights:
            shapes = {n: a.shape for n, a in original_parameters(self.source.reference).items()}
            self.state.set_weights(weights_of(made.description, shapes))
        size, _, _ = describe_artifact(self._folder, recipe.file)
        if most is not None and size > most:
            return Trial(label, size)
        return self._judged(made, label, size)

    def _judged(self, made: MadeArtifact, label: str, size: int) -> Trial:
        with progress_bar(f"judging {made.recipe.file}") as bar:
            _, _, report = judge_made(
                self._folder,
                self._facts,
                [made],
                self._golden,
                progress=lambda _, done, total: bar(done, total),
            )
        if report.reference_doubts:
            raise UserError(
                "a search needs a model that has learned its task",
                why=report.reference_doubts[0],
                todo="train it better first: more EPOCHS=, more data, or a pretrained MODEL=",
            )
        (artifact,) = report.artifacts
        return Trial(
            label,
            size,
            artifact.verdict,
            {name: artifact.figures[name] for name in FIGURES if name in artifact.figures},
            tuple(check.figure for check in artifact.checks if not check.passed),
            artifact.doubts,
        )

    def _clear(self, recipe: Recipe) -> None:
        path = self._folder / recipe.file
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def told(trial: Trial) -> str:
    """A line on a trial."""
    if trial.problem:
        return f"cannot be made: {trial.problem}"
    if not trial.verdict:
        return f"{size_words(trial.size)}, above the budget"
    flips = f"{trial.figure('flips'):.0f} of {trial.figure('decisions'):.0f} decisions flip"
    words = f"{size_words(trial.size)}, SQNR {trial.figure('sqnr_db'):.1f} dB, {flips}"
    return f"{words}, gate {trial.verdict.upper()}"


def _is_enough(known: Trial, most: int | None) -> bool:
    """Whether what is known of a candidate answers the question."""
    return bool(known.verdict or known.problem or (most is not None and known.size > most))
