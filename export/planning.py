"""What an export is to make: its settings, then targets and recipes by name, before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from export.artifacts import Wanted, with_options
from export.content_cache import NO_CACHE, ContentCache
from export.data import DataSettings
from export.model_choice import FineTuneMode
from export.pooling import EmbeddingSettings
from export.publish import check_destination
from export.recipes import Recipe
from export.recipes.choice import ALL, chosen_recipes
from export.search.settings import SearchSettings, check_search
from export.settings import FineTuneSettings, lengths_up_to
from export.shrinking.settings import ShrinkSettings
from export.targets import targets
from export.targets.base import Target
from export.vectors import vector_recipe
from runtime.bundle import MANIFEST
from runtime.console import note
from runtime.errors import UserError
from runtime.sessions import session_modules


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """One export.

    Attributes:
        targets: target names, or ``all``, which leaves experimental ones out.
        recipes: recipe names, or files of recipes, made for every target, or ``all``; none takes
            each target's default ones, and all of them for a search.
        options: settings of single targets, such as ``layout``; others ignore them.
        author, license, version: for formats with room for them in the artifact; without an author
            it is this program, without a licence what can be said of it is.
        out: the bundle's folder.
        data: labelled texts: for fine-tuning and for the gate.
        model: what to start from, and how to fine-tune it if that is needed.
        fine_tune: when to fine-tune.
        checkpoints: folder of fine-tuned checkpoints, used again by later runs.
        lengths: of formats with fixed shapes, in ids; see `lengths_up_to`.
        reference_limit: most validation texts in the reference set.
        texts: the user's own unlabelled texts for the reference set, UTF-8, one a line; at most
            `reference_limit` of them are used.
        shrink: what is left out of the model first; None leaves nothing out.
        vectors: how the artifacts make sentence vectors; None makes classifiers.
        search: bounds within which one recipe, or a mixture of several, is looked for; None makes
            an artifact of each recipe.
        cache: float conversions and PyTorch's answers of earlier runs.
    """

    targets: tuple[str, ...]
    out: Path
    recipes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    author: str = ""
    license: str = ""
    version: str = "1.0"
    data: DataSettings = field(default_factory=DataSettings)
    model: FineTuneSettings = field(default_factory=FineTuneSettings)
    fine_tune: FineTuneMode = "auto"
    checkpoints: Path = Path("build/checkpoints")
    lengths: tuple[int, ...] = ()
    reference_limit: int = 2000
    texts: Path | None = None
    shrink: ShrinkSettings | None = None
    vectors: EmbeddingSettings | None = None
    search: SearchSettings | None = None
    cache: ContentCache = NO_CACHE

    def lengths_up_to(self, max_length: int) -> tuple[int, ...]:
        """Of formats with fixed shapes, where the model bears texts of `max_length` ids."""
        return lengths_up_to(max_length, self.lengths)


def is_bundle(path: Path) -> bool:
    """Whether a folder may be replaced by a new bundle."""
    return (path / MANIFEST).is_file()


def plan(settings: ExportSettings) -> list[Wanted]:
    """Targets and recipes by name, before any work is done.

    Raises:
        UserError: a name is unknown (the known ones are listed), a target's packages or runtime
            are missing, no target has an option that was given, a length cannot be, or the output
            folder holds something else.
    """
    known = targets()
    usual = [name for name, target in known.items() if not target.EXPERIMENTAL]
    names = list(dict.fromkeys(settings.targets))
    if ALL in names:
        names = [*usual, *(name for name in names if name not in (*usual, ALL))]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UserError(
            f"unknown TARGET {unknown[0]!r}" if unknown else "no TARGET was named",
            todo=f"choose one of: {', '.join([*known, ALL])}",
        )
    if settings.search is not None:
        check_search(names, vectors=settings.vectors is not None)
    lengths = settings.lengths_up_to(settings.model.max_length)
    chosen = []
    for name in names:
        missing = known[name].available() or session_modules()[name].available()
        if missing:
            raise UserError(missing)
        offered = _recipes(name, settings)
        if settings.search is not None and not settings.recipes:
            offered = [
                recipe for recipe in offered if _goes(known[name], recipe, settings, lengths)
            ] or offered
        chosen.append(with_options(known[name], offered, settings.options, lengths))
    for option in settings.options:
        if not any(option in known[name].OPTIONS for name in names):
            able = [name for name, target in known.items() if option in target.OPTIONS]
            raise UserError(
                f"the target {', '.join(names)} has no {option.replace('_', ' ')} to choose",
                why=f"it is for {', '.join(able)}" if able else "no target has it",
            )
    if settings.vectors and settings.options.get("outputs") == "classifier":
        raise UserError("sentence vectors have no classes", todo="leave OUTPUTS=classifier out")
    check_destination(settings.out, is_ours=is_bundle)
    return chosen


def _goes(
    target: Target, recipe: Recipe, settings: ExportSettings, lengths: tuple[int, ...]
) -> bool:
    """Whether a recipe goes with the options that were named; a search leaves the others out."""
    try:
        with_options(target, [recipe], settings.options, lengths)
    except UserError as error:
        note(f"  without {recipe.name}: {error.what}")
        return False
    return True


def _recipes(target: str, settings: ExportSettings) -> list[Recipe]:
    every = settings.search is not None
    chosen = chosen_recipes(target, settings.recipes, every=every)
    return [vector_recipe(recipe) for recipe in chosen] if settings.vectors else chosen
