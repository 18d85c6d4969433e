"""The command `shrink`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export import cli_options as options
from export.data import DataSettings, load_dataset
from export.settings import DEFAULT_MAX_LENGTH
from export.shrinking.settings import ShrinkSettings
from runtime.cli_support import program
from runtime.console import out


def shrink(
    model: Annotated[str, typer.Option(help="A checkpoint's folder, or a name on the hub.")],
    output: Annotated[Path, typer.Option("--out", help="The smaller checkpoint's folder.")],
    prune_vocab: options.PruneVocab = "",
    min_count: options.MinCount = 1,
    vocab_size: options.VocabSize = None,
    layers: options.KeepLayers = "",
    drop_layers: options.DropLayers = "",
    revision: options.Revision = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled texts, as for finetune: both models are compared on its validation and "
            "test texts.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    text_column: options.TextColumn = None,
    label_columns: options.LabelColumns = "",
    label_separator: options.LabelSeparator = None,
    labels: options.Labels = "",
    label_names: options.LabelNames = "",
    task: options.Kind = None,
    max_length: options.MaxLength = DEFAULT_MAX_LENGTH,
    limit: Annotated[
        int, typer.Option(min=1, help="Most texts of a split that are compared.")
    ] = 2000,
    seed: options.Seed = 13,
) -> None:
    """Make a smaller checkpoint: fewer pieces in its vocabulary, fewer layers.

    A checkpoint is written only if it was found equal to the larger one where it must be.
    """
    settings = options.shrink_settings(prune_vocab, min_count, vocab_size, layers, drop_layers)
    source = data and options.data_settings(
        data, text_column, label_columns, label_separator, labels, label_names, task, seed
    )
    _shrink(
        model,
        revision,
        settings or ShrinkSettings(),
        source or None,
        output,
        max_length=max_length,
        limit=limit,
    )


def _shrink(
    model: str,
    revision: str | None,
    settings: ShrinkSettings,
    data: DataSettings | None,
    output: Path,
    *,
    max_length: int,
    limit: int,
) -> None:
    from export.checkpoint import find_checkpoint
    from export.data.report import describe_data
    from export.publish import check_destination
    from export.shrinking.record import is_replaceable
    from export.shrinking.report import print_shrunk
    from export.shrinking.shrink import shrink as make

    check_destination(output, is_ours=is_replaceable)
    checkpoint = find_checkpoint(model, revision)
    dataset = load_dataset(data) if data is not None else None
    if dataset is not None:
        describe_data(dataset)
    record = make(checkpoint, settings, output, dataset=dataset, max_length=max_length, limit=limit)
    print_shrunk(record)
    out.print(f"wrote {output}", markup=False)
    source = data.source if data is not None else "FILE"
    command = "export --target tflite" if checkpoint.has_head else "finetune"
    out.print(
        f"next: {program()} {command} --model {output} --data {source}",
        markup=False,
        soft_wrap=True,
    )
