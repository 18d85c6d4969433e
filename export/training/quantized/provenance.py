"""What a checkpoint's record says of a tuning, for an export."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from export.recipes import Recipe
from export.training.quantized.settings import ENTRY
from export.training.record import TrainingRecord


def tuned_for(record: TrainingRecord | None) -> tuple[str, str] | None:
    """Target and recipe that a checkpoint was tuned for; None for any other."""
    entry = record.extra.get(ENTRY) if record is not None else None
    return (str(entry["target"]), str(entry["recipe"])) if entry else None


def told_of_tuning(record: TrainingRecord | None) -> str:
    """Markdown for the card; empty where there was no tuning."""
    entry: dict[str, Any] | None = record.extra.get(ENTRY) if record is not None else None
    if not entry:
        return ""
    found = entry["comparison"]
    metric = str(found["metric"]).replace("_", "-")
    return (
        f"Tuned in {entry['steps']} steps for the rounding of {entry['target']}'s recipe "
        f"{entry['recipe']}, version {entry['recipe_version']}: {metric} on {found['texts']} test "
        f"texts {found['before']:.4f} in float32 before, {found['rounded']['score']:.4f} rounded "
        f"without tuning, {found['tuned']['score']:.4f} tuned."
    )


def notes_on(record: TrainingRecord | None, wanted: Iterable[tuple[Recipe, bool]]) -> list[str]:
    """What a user should know who exports a tuned checkpoint.

    Args:
        record: of the checkpoint.
        wanted: recipes that are made, each with whether the checkpoint lies on its grid.
    """
    tuned = tuned_for(record)
    if tuned is None:
        return []
    target, name = tuned
    notes = []
    for recipe, fits in wanted:
        if fits:
            notes.append(
                f"the checkpoint lies on the grid of {recipe.target}'s {recipe.name}: its weights "
                "are stored without loss"
            )
        elif recipe.quantizes:
            notes.append(
                f"the checkpoint was tuned for {target}'s {name} and not for {recipe.target}'s "
                f"{recipe.name}, whose grid is another: its weights are rounded as any others"
            )
    return notes
