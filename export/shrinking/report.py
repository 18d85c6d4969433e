"""What shrinking did, for the terminal and for a bundle's card."""

from __future__ import annotations

from rich.table import Table

from export.shrinking.effect import SplitEffect
from export.shrinking.record import ShrinkRecord
from runtime.console import megabytes, out


def print_shrunk(record: ShrinkRecord) -> None:
    """Sizes, what was verified, and what changed on texts that decided nothing."""
    for line in _lines(record):
        out.print(line, markup=False, soft_wrap=True)
    if not record.effect:
        return
    table = Table(title="against the larger model")
    for column, row in zip(_COLUMNS, zip(*map(_cells, record.effect), strict=True), strict=True):
        if not table.columns:
            table.add_column("")
            for effect in record.effect:
                table.add_column(effect.split, justify="right")
        table.add_row(column, *row)
    out.print(table)


def shrinking_markdown(record: ShrinkRecord) -> str:
    """The same for the card."""
    lines = ["What was left out of the model before it was exported:", ""]
    lines += [f"- {line}" for line in _lines(record)]
    if record.effect:
        head = ("against the larger model", *(effect.split for effect in record.effect))
        body = zip(*map(_cells, record.effect), strict=True)
        rows = [(name, *cells) for name, cells in zip(_COLUMNS, body, strict=True)]
        lines += ["", *(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))]
    return "\n".join(lines)


def _lines(record: ShrinkRecord) -> list[str]:
    saved = record.bytes_before - record.bytes_after
    lines = [
        f"{record.parameters_after:,} parameters of {record.parameters_before:,}: "
        f"{megabytes(record.bytes_after)} instead of {megabytes(record.bytes_before)} "
        f"({megabytes(saved)} saved)"
    ]
    if record.layers is not None:
        lines.append(
            f"layers {', '.join(map(str, record.layers))} of {record.layers_before}, from 0"
        )
    found = record.vocabulary
    if found is None or record.verified is None:
        return lines
    lines.append(
        f"{found.tokens_after:,} of {found.tokens_before:,} tokens: {found.used:,} that "
        f"{found.corpus_texts:,} texts use, {found.fallback:,} special ones and characters that "
        "spell anything else"
    )
    if found.dropped_used:
        lines.append(f"{found.dropped_used:,} pieces that the texts use were left out, as asked")
    checked = record.verified
    other = "" if record.layers is None else " with those of the whole vocabulary on these layers"
    lines.append(
        f"verified: {checked.recut:,} of {checked.texts:,} corpus texts are cut otherwise; "
        f"{checked.rows:,} embedding rows and the logits of {checked.model_texts} texts are equal "
        f"bit for bit{other}"
    )
    return lines


_COLUMNS = (
    "texts",
    "cut into other pieces",
    "pieces that stand in for others",
    "unknown pieces",
    "texts cut off",
    "main metric",
    "decisions that changed",
)


def _cells(effect: SplitEffect) -> tuple[str, ...]:
    texts = f"{effect.texts:,}"
    return (
        texts if effect.texts == effect.of else f"{texts} of {effect.of:,}",
        f"{effect.recut / effect.texts:.1%}",
        f"{effect.stand_ins / max(effect.pieces, 1):.2%}",
        f"{effect.unknown_before} → {effect.unknown_after}",
        f"{effect.too_long_before} → {effect.too_long_after}",
        f"{effect.metric} {effect.before:.4f} → {effect.after:.4f}",
        f"{effect.changed:,} of {effect.decisions:,} ({effect.changed / effect.decisions:.2%})",
    )
