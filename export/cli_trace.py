"""The command that shows the way of one text through a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.cli_support import program
from runtime.console import note, out
from runtime.files import canonical_json, write_atomically


def trace(
    text: Annotated[str, typer.Argument(help="The text; put -- before one that begins with -.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="A checkpoint's folder or a name on the hub; by default the model that was "
            "trained last below build/."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or tag on the hub.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="Show this block's heads and inner stages as well, from 1.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=20, help="Tokens that a row names.")] = 3,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Longest sequence in ids; the model's own if absent.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Also run the text through this bundle's artifacts.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to look around in.")] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the trace as JSON, without the heads' matrices.")
    ] = None,
) -> None:
    """Show what a model makes of one text: tokens, shapes, attention, vector, logits, labels."""
    from export.checkpoint import find_checkpoint
    from export.tracing import trace_text
    from export.tracing.page import trace_page
    from export.tracing.task import newest_checkpoint
    from export.tracing.terminal import terminal_parts
    from runtime.bundle import open_bundle

    if model is None:
        model = str(newest_checkpoint())
        note(f"· tracing {model}, the model that was trained last")
    opened = None if bundle is None else open_bundle(bundle)
    if opened is not None and max_length is None:
        max_length = opened.manifest.tokenizer.max_length
    found = trace_text(find_checkpoint(model, revision), text, max_length=max_length)
    if opened is not None:
        from export.tracing.artifacts import with_artifacts

        found = with_artifacts(found, opened)
    for part in terminal_parts(found, layer=layer, top=top):
        out.print(part)
        out.print()
    if html is not None:
        write_atomically(html, trace_page(found))
        out.print(f"page: {html}", markup=False, soft_wrap=True)
    if json is not None:
        write_atomically(json, canonical_json(found.to_json()))
        out.print(f"trace: {json}", markup=False, soft_wrap=True)
    if html is None:
        again = f'{program()} trace "…" --model {model} --html trace.html'
        out.print(f"to look around in it: {again}", markup=False, soft_wrap=True, style="dim")
