"""What a tuning came to, for the terminal."""

from __future__ import annotations

from rich.table import Table

from export.recipes import Recipe
from export.training.quantized.compare import Comparison
from export.training.quantized.tune import Tuned
from export.training.report.words import metric_words
from export.training.table import print_training
from runtime.console import out


def print_tuned(result: Tuned, recipe: Recipe) -> None:
    """Before, rounded and tuned, side by side; what fine-tuning has to say comes first."""
    print_training(result.run)
    found = result.comparison
    words = metric_words(result.run.record)
    table = Table(title=f"{recipe.target} {recipe.name} on {found.texts:,} {found.split} texts")
    table.add_column("")
    for column in (words, "lost, 95% bounds", "other answers than before"):
        table.add_column(column, justify="right")
    table.add_row("before, in float32", f"{found.before:.4f}", "", "")
    for title, drop in (("rounded, not tuned", found.rounded), ("tuned", found.tuned)):
        bounds = f"{drop.low:+.4f} to {drop.high:+.4f}"
        table.add_row(title, f"{drop.score:.4f}", bounds, f"{drop.flips:.2%}")
    out.print(table)
    out.print(
        "answers that the runtime's arithmetic changes in the tuned checkpoint: "
        f"{found.artifact_flips:.2%} (untuned {found.rounded.flips:.2%})",
        soft_wrap=True,
    )
    if advice := doubt(found):
        out.print(f"[yellow]{advice}[/]", soft_wrap=True)


def doubt(found: Comparison) -> str:
    """What to try where tuning has done no good; empty where it has."""
    if found.tuned.score >= found.rounded.score:
        return ""
    return (
        f"tuning lost {found.metric.replace('_', ' ')} against plain rounding on these texts: "
        "export the checkpoint as it was, or tune with a lower --learning-rate or more --steps"
    )
