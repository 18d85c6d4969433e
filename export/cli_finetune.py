"""The command `finetune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from export import cli_options as options
from export.data import DataSettings, load_dataset
from export.data.report import describe_data
from export.settings import DEFAULT_MAX_LENGTH, SMALL, FineTuneSettings, RunOptions
from export.training.processes import world
from runtime.cli_support import program
from runtime.console import err, out
from runtime.errors import UserError

# Seconds until a launcher has ended all processes because of one, with room to spare.
_TIME_TO_SPEAK = 3.0


def finetune(
    output: Annotated[Path, typer.Option("--out", help="The checkpoint's folder.")] = Path(
        "build/finetuned"
    ),
    model: options.Model = SMALL,
    revision: options.Revision = None,
    data: options.Data = "sample:sentiment",
    text_column: options.TextColumn = None,
    label_columns: options.LabelColumns = "",
    label_separator: options.LabelSeparator = None,
    labels: options.Labels = "",
    label_names: options.LabelNames = "",
    task: options.Kind = None,
    max_length: options.MaxLength = DEFAULT_MAX_LENGTH,
    seed: options.Seed = 13,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    accumulation: options.Accumulation = None,
    patience: options.Patience = None,
    class_weights: options.Weights = None,
    tuning: options.Tuning = options.TuningKind.WHOLE,
    thresholds: options.Thresholds = options.ThresholdsKind.TUNED,
    precision: options.Precision = options.PrecisionKind.AUTO,
    compile_: options.Compile = False,
    save_every: options.SaveEvery = None,
    fresh: options.Fresh = False,
    tensorboard: options.Tensorboard = None,
    baselines: options.Baselines = "all",
) -> None:
    """Fine-tune a classifier and write a checkpoint (safetensors and tokenizer).

    An interrupted run is continued by the same command. Several processes:
    torchrun --nproc-per-node 2 -m export finetune …
    """
    data_settings = options.data_settings(
        data, text_column, label_columns, label_separator, labels, label_names, task, seed
    )
    settings = options.training_settings(
        FineTuneSettings(
            model=model,
            revision=revision,
            max_length=max_length,
            seed=seed,
            tuning=tuning.value,
            thresholds=thresholds.value,
            precision=precision.value,
            compile=compile_,
        ),
        RunOptions(
            save_every=save_every,
            fresh=fresh,
            tensorboard=tensorboard,
            baselines=options.baselines_of(baselines),
        ),
        class_weights=class_weights,
        patience=patience,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        accumulation=accumulation,
    )
    if world().leads:
        _lead(data_settings, settings, output)
    else:
        _follow(data_settings, settings, output)


def _lead(data: DataSettings, settings: FineTuneSettings, output: Path) -> None:
    from export.publish import check_destination
    from export.training.finetune import fine_tune, is_run
    from export.training.report import write_training_report
    from export.training.table import print_training

    check_destination(output, is_ours=is_run)
    dataset = load_dataset(data)
    describe_data(dataset)
    result = fine_tune(dataset, settings, output)
    write_training_report(output)
    print_training(result)
    out.print(
        f"next: {program()} export --target tflite --model {output} --data {data.source}",
        markup=False,
        soft_wrap=True,
    )


def _follow(data: DataSettings, settings: FineTuneSettings, output: Path) -> None:
    """Work for the process that leads, in silence."""
    from export.training.finetune import assist

    err.quiet = True
    try:
        assist(load_dataset(data), settings, output)
    except UserError:
        # Most errors meet all processes. If it does meet the first one, its end ends this one too;
        # otherwise nobody else can tell of it.
        time.sleep(_TIME_TO_SPEAK)
        err.quiet = False
        raise
