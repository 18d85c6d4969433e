"""What a fine-tuning run came to, for the terminal."""

from __future__ import annotations

from rich.table import Table

from export.training.finetune import FineTuned
from runtime.console import megabytes, out


def print_training(result: FineTuned) -> None:
    """A table of the epochs, the scores of the best one, and the baseline beside them."""
    name = result.metric_name
    table = Table()
    for column in ("epoch", "training loss", "validation loss", f"validation {name}", "seconds"):
        table.add_column(column, justify="right")
    for epoch in result.epochs:
        table.add_row(
            f"{epoch.number}{' ←' if epoch.number == result.best else '  '}",
            f"{epoch.training_loss:.4f}",
            f"{epoch.validation_loss:.4f}",
            f"{epoch.metric:.4f}",
            f"{epoch.seconds:.1f}",
        )
    out.print(table)
    out.print(
        f"kept epoch {result.best}; {name} on validation {result.validation[name]:.4f}, on test "
        f"{result.test[name]:.4f}; {result.parameters:,} parameters, {result.seconds:.0f} s",
        soft_wrap=True,
    )
    out.print(f"bag of words + logistic regression on test: {result.baseline_test:.4f}")
    if result.test[name] <= result.baseline_test:
        out.print("[yellow]the transformer does not beat the bag of words on this data[/]")
    size = sum(file.stat().st_size for file in result.checkpoint.iterdir())
    out.print(f"wrote {result.checkpoint} ({megabytes(size)})", markup=False)
