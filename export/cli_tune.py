"""The command `tune-quantized`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export import cli_options as options
from export.data import DataSettings, load_dataset
from export.data.report import describe_data
from export.settings import DEFAULT_MAX_LENGTH, FineTuneSettings, RunOptions
from runtime.cli_support import program
from runtime.console import out

# The float model's answers, so that it is asked once per text whatever is tried.
_CACHE = Path("build/teacher-answers")


def tune_quantized(
    model: Annotated[str, typer.Option(help="A fine-tuned checkpoint's folder or hub name.")],
    target: Annotated[str, typer.Option(help="onnx or tflite: whose arithmetic.")] = "onnx",
    recipe: Annotated[str, typer.Option(help="The recipe to get used to, such as int4.")] = "int4",
    output: Annotated[Path, typer.Option("--out", help="The tuned checkpoint's folder.")] = Path(
        "build/tuned"
    ),
    steps: Annotated[
        int, typer.Option(min=1, help="Of the optimiser, in all.", rich_help_panel=options.LESSON)
    ] = 300,
    alpha: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Weight of the float model's answers; the labels have the rest.",
            rich_help_panel=options.LESSON,
        ),
    ] = 0.9,
    temperature: options.Temperature = 2.0,
    limit: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most texts of the validation and of the test split.",
            rich_help_panel=options.LESSON,
        ),
    ] = 2000,
    data: options.Data = "sample:sentiment",
    text_column: options.TextColumn = None,
    label_columns: options.LabelColumns = "",
    label_separator: options.LabelSeparator = None,
    labels: options.Labels = "",
    label_names: options.LabelNames = "",
    task: options.Kind = None,
    max_length: options.MaxLength = DEFAULT_MAX_LENGTH,
    seed: options.Seed = 13,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Into how many parts the steps are cut; the weights are judged after each.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    accumulation: options.Accumulation = None,
    patience: options.Patience = None,
    thresholds: options.Thresholds = options.ThresholdsKind.TUNED,
    save_every: options.SaveEvery = None,
    fresh: options.Fresh = False,
    tensorboard: options.Tensorboard = None,
) -> None:
    """Let a fine-tuned model get used to a recipe's rounding: a few hundred steps.

    The checkpoint that comes out lies on the recipe's grid, and exports as any other. An
    interrupted run is continued by the same command.
    """
    from export.publish import check_destination
    from export.training.finetune import is_run
    from export.training.quantized.settings import TuneSettings, find_recipe, suitable_for
    from export.training.quantized.table import print_tuned
    from export.training.quantized.tune import tune
    from export.training.report import write_training_report

    training = options.training_settings(
        FineTuneSettings(
            model=model,
            hyperparameters=suitable_for(model),
            max_length=max_length,
            seed=seed,
            thresholds=thresholds.value,
            # The arithmetic is float32's; bfloat16 would round what was rounded already.
            precision="float32",
        ),
        RunOptions(save_every=save_every, fresh=fresh, tensorboard=tensorboard, baselines=()),
        class_weights=None,
        patience=patience,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        accumulation=accumulation,
    )
    settings = TuneSettings(
        model=model,
        recipe=find_recipe(target, recipe),
        steps=steps,
        alpha=alpha,
        temperature=temperature,
        limit=limit,
        training=training,
    )
    source: DataSettings = options.data_settings(
        data, text_column, label_columns, label_separator, labels, label_names, task, seed
    )
    check_destination(output, is_ours=is_run)
    dataset = load_dataset(source)
    describe_data(dataset)
    result = tune(dataset, settings, output, _CACHE)
    write_training_report(output)
    print_tuned(result, settings.recipe)
    command = f"export --target {target} --recipe {recipe} --model {output} --data {data}"
    if max_length != DEFAULT_MAX_LENGTH:
        command += f" --max-length {max_length}"
    out.print(f"next: {program()} {command}", markup=False, soft_wrap=True)
