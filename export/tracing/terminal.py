"""A trace in the terminal: tables and shaded tokens, with bars where there are no colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from export.data.description import bar
from export.tracing.attention import strongest
from export.tracing.document import Floats, Stage, TextTrace, TokenStep
from export.tracing.shown import (
    ROLLOUT_NOTE,
    largest,
    length_sentence,
    numbers,
    shown_shape,
    shown_token,
    special_share,
    strengths,
)
from runtime.errors import UserError

# A table of 512 tokens would push everything else off the screen.
_MOST_ROWS, _MOST_LABELS = 40, 12
_LAST_ROWS = 5
_LONGEST = 300
_NUMBERS = 8
_BAR = 16
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# From paper to amber, black ink on both: readable on dark and light terminals.
_LOW, _HIGH = (250, 246, 235), (255, 170, 40)


def terminal_parts(
    trace: TextTrace, *, layer: int | None = None, top: int = 3
) -> Iterator[RenderableType]:
    """Everything that is printed, in order.

    Args:
        trace: of one text.
        layer: number of a block, from 1, whose heads and inner stages are shown as well.
        top: how many tokens a row of attention names.

    Raises:
        UserError: there is no such layer.
    """
    if layer is not None and not 1 <= layer <= len(trace.attention):
        raise UserError(
            f"{trace.model} has no layer {layer}", todo=f"choose 1 to {len(trace.attention)}"
        )
    yield Text(f"{trace.model}: {trace.family}, {trace.parameters:,} parameters", style="bold")
    yield _pairs(trace)
    yield _tokens(trace)
    yield _shaded(trace)
    yield _layers(trace, top)
    if layer is not None:
        yield _heads(trace, layer, top)
    yield _stages(trace, layer)
    yield _vectors(trace)
    yield _labels(trace)
    if trace.artifacts:
        yield _artifacts(trace)


def _table(title: str, *columns: str, right: tuple[int, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column, style="dim"), justify="right" if index in right else "left")
    return table


def _plain(text: str) -> str:
    """One line that moves no cursor and turns no direction."""
    return "".join(c if unicodedata.category(c) not in _UNSEEN else ascii(c)[1:-1] for c in text)


def _cut(text: str, limit: int = _LONGEST) -> str:
    plain = _plain(text)
    return plain if len(plain) <= limit else f"{plain[:limit]}… ({len(text):,} characters)"


def _pairs(trace: TextTrace) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    words = " | ".join(trace.words)
    for name, value in (
        ("text", _cut(trace.text) or "(empty)"),
        ("normalised", _cut(trace.normalised) or "(empty)"),
        ("words", _cut(words) or "(none)"),
        ("tokens", length_sentence(trace)),
    ):
        table.add_row(name, Text(value))
    return table


def _tokens(trace: TextTrace) -> Table:
    table = _table(
        "Tokens, and how much of the classified vector can come from each (attention rollout)",
        "#", "token", "id", "characters", "text", "mask", "weight", "",
        right=(0, 2, 6),
    )  # fmt: skip
    shades = strengths(trace, trace.rollout)
    rows = list(trace.tokens)
    gap = len(rows) > _MOST_ROWS
    shown = [*rows[: _MOST_ROWS - _LAST_ROWS], *rows[-_LAST_ROWS:]] if gap else rows
    for number, token in enumerate(shown):
        if gap and number == _MOST_ROWS - _LAST_ROWS:
            table.add_row("…", Text(f"{len(rows) - len(shown)} more", style="dim"))
        weight, shade = float(trace.rollout[token.position]), float(shades[token.position])
        pooled = " ◂ classified" if token.position == trace.pooled_position else ""
        table.add_row(
            str(token.position),
            Text(_plain(token.token), style="dim" if token.special else ""),
            str(token.id),
            "special" if token.special else f"{token.start}-{token.end}",
            Text(_plain(token.text) + (" (unknown)" if token.unknown else "")),
            "1",
            f"{weight:.1%}",
            Text(("" if token.special else bar(shade, _BAR)) + pooled),
        )
    return table


def _shaded(trace: TextTrace) -> Text:
    """The text's tokens, the darker the more weight."""
    shades = strengths(trace, trace.rollout)
    line = Text()
    end = 0
    for token in trace.tokens[:_LONGEST]:
        if token.special:
            continue
        # Bytes of one character come as several tokens with the same text.
        if token.start < end:
            continue
        line.append(" " if token.start > end and line else "")
        end = token.end
        line.append(_plain(token.text), style=_style(float(shades[token.position])))
    share = special_share(trace, trace.rollout)
    line.append("\n" if line else "")
    line.append(f"{share:.0%} lies on special tokens. {ROLLOUT_NOTE}", style="dim")
    return line


def _style(shade: float) -> str:
    red, green, blue = (round(a + shade * (b - a)) for a, b in zip(_LOW, _HIGH, strict=True))
    return f"black on rgb({red},{green},{blue})"


def _named(trace: TextTrace, weights: Floats, count: int) -> str:
    return ", ".join(
        f"{_name(trace.tokens[i])} {float(weights[i]):.0%}" for i in largest(weights, count)
    )


def _name(token: TokenStep) -> str:
    return f"{_plain(shown_token(token))}#{token.position}"


def _layers(trace: TextTrace, top: int) -> Table:
    looker = _name(trace.tokens[trace.pooled_position])
    table = _table(
        f"What {looker} looks at (mean of {trace.attention.shape[1]} heads)",
        "layer", "most", "of the text, most", right=(0,),
    )  # fmt: skip
    special = [t.position for t in trace.tokens if t.special]
    for number, row in enumerate(trace.looked_at, start=1):
        inner = row.copy()
        inner[special] = 0.0
        plain = len(trace.tokens) - len(special)
        table.add_row(
            str(number),
            Text(_named(trace, row, top)),
            Text(_named(trace, inner, min(top, plain))),
        )
    return table


def _heads(trace: TextTrace, layer: int, top: int) -> Table:
    table = _table(f"Layer {layer}: who looks at whom", "head", "strongest pairs", right=(0,))
    for number, looks in enumerate(strongest(trace.attention[layer - 1], top), start=1):
        pairs = ", ".join(
            f"{_name(trace.tokens[x.source])} → {_name(trace.tokens[x.target])} {x.weight:.0%}"
            for x in looks
        )
        table.add_row(str(number), Text(pairs))
    return table


def _stages(trace: TextTrace, layer: int | None) -> Table:
    table = _table(
        "Stages", "stage", "shape", "mean", "std", "length of a vector", "ms",
        right=(2, 3, 4, 5),
    )  # fmt: skip
    for stage in trace.stages:
        inner = stage.part == "block" and stage.milliseconds is None
        if inner and stage.block != layer:
            continue
        table.add_row(
            Text(("  " if inner else "") + stage.name),
            shown_shape(stage),
            *_figures(stage),
            "" if stage.milliseconds is None else f"{stage.milliseconds:.2f}",
        )
    return table


def _figures(stage: Stage) -> tuple[str, str, str]:
    return f"{stage.mean:+.4f}", f"{stage.std:.4f}", f"{stage.norm:.3f}"


def _vectors(trace: TextTrace) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, vector in (
        ("encoder's vector", trace.pooled),
        ("classifier reads", trace.head_vector),
    ):
        norm = float((vector.astype(float) ** 2).sum() ** 0.5)
        told = f"1 x {len(vector)}, length {norm:.3f}: {numbers(vector, _NUMBERS)}"
        table.add_row(name, Text(told))
    return table


def _labels(trace: TextTrace) -> Table:
    several = trace.task.thresholds is not None
    title = f"Logits → probabilities ({trace.task.activation})"
    columns = ["label", "logit", "probability", *(["threshold"] if several else []), "", ""]
    table = _table(title, *columns, right=(1, 2, *((3,) if several else ())))
    ordered = sorted(trace.labels, key=lambda label: -label.probability)
    for label in ordered[:_MOST_LABELS]:
        cells = [f"{label.logit:+.4f}", f"{label.probability:.4f}"]
        if several:
            cells.append(f"{label.threshold:.4f}")
        table.add_row(
            Text(_plain(label.name), style="bold" if label.given else ""),
            *cells,
            bar(label.probability, _BAR),
            "given" if label.given else "",
        )
    if len(ordered) > _MOST_LABELS:
        table.add_row(Text(f"… {len(ordered) - _MOST_LABELS} more", style="dim"))
    return table


def _artifacts(trace: TextTrace) -> Table:
    table = _table(
        "Artifacts of the bundle", "artifact", "labels", "largest difference of a logit", right=(2,)
    )
    for artifact in trace.artifacts:
        difference = "other ids" if artifact.difference is None else f"{artifact.difference:.2g}"
        table.add_row(artifact.path, Text(", ".join(artifact.labels) or "(none)"), difference)
    return table
