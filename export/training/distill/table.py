"""What a distillation came to, for the terminal."""

from __future__ import annotations

from rich.table import Table

from export.training.distill.general import METRIC, Taught
from export.training.distill.task import Distilled
from export.training.history import Epoch
from export.training.table import print_training
from runtime.console import megabytes, out


def print_distilled(result: Distilled) -> None:
    """The student beside its teacher; what fine-tuning has to say comes first."""
    print_training(result.run)
    found = result.comparison
    table = Table(title=f"student and teacher on {found.texts} {found.split} texts")
    table.add_column("")
    for column in (found.metric, "parameters", "float32", "ms a text"):
        table.add_column(column, justify="right")
    for who in ("teacher", "student"):
        table.add_row(
            who,
            f"{getattr(found, who):.4f}",
            f"{getattr(found, f'{who}_parameters'):,}",
            megabytes(getattr(found, f"{who}_bytes")),
            f"{getattr(found, f'{who}_ms'):.2f}",
        )
    out.print(table)
    out.print(
        f"same answer as the teacher: {found.agreement:.1%}; "
        f"{found.student_parameters / found.teacher_parameters:.0%} of its parameters, "
        f"{found.student_ms / found.teacher_ms:.0%} of its time",
        soft_wrap=True,
    )


def print_taught(result: Taught) -> None:
    """The terms epoch by epoch, and what the student knows of hidden words."""
    record = result.record
    _print_epochs(record.epochs, record.best_epoch, METRIC)
    table = Table(title=f"on {record.data['rows']['validation']} validation texts")
    for column in ("", *result.after.terms, "hidden words guessed"):
        table.add_column(column, justify="right" if column else "left")
    for when, score in (("student before", result.before), ("student after", result.after)):
        terms = (f"{value:.4f}" for value in score.terms.values())
        table.add_row(when, *terms, f"{score.masked_accuracy:.1%}")
    if result.teacher_accuracy is not None:
        blank = [""] * len(result.after.terms)
        table.add_row("teacher", *blank, f"{result.teacher_accuracy:.1%}")
    out.print(table)
    teacher, student = result.sizes["teacher"], result.sizes["student"]
    out.print(
        f"{int(student['parameters']):,} parameters of {int(teacher['parameters']):,}, "
        f"{student['ms_per_text']:.2f} ms a text of {teacher['ms_per_text']:.2f}, "
        f"{result.seconds:.0f} s",
        soft_wrap=True,
    )
    size = sum(file.stat().st_size for file in result.checkpoint.iterdir())
    out.print(f"wrote {result.checkpoint} ({megabytes(size)})", markup=False)


def _print_epochs(epochs: tuple[Epoch, ...], best: int, metric: str) -> None:
    """One row an epoch, with a column for every term of the loss."""
    table = Table()
    terms = list(epochs[0].terms) if epochs else []
    for column in ("epoch", "training loss", *terms, "validation loss", metric, "seconds"):
        table.add_column(column, justify="right")
    for epoch in epochs:
        table.add_row(
            f"{epoch.number}{' ←' if epoch.number == best else '  '}",
            f"{epoch.training_loss:.4f}",
            *(f"{epoch.terms[name]:.4f}" for name in terms),
            f"{epoch.validation_loss:.4f}",
            f"{epoch.metric:.4f}",
            f"{epoch.seconds:.1f}",
        )
    out.print(table)
