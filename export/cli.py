"""The command line, and nothing else: parse, call, print.

Modules that need torch are imported inside the commands, so that --help and the runtime's commands
answer at once.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import runtime.cli
import runtime.cli_parity
from export.data import DataSettings, load_dataset
from export.data.report import describe_data
from export.quiet import no_warnings
from export.settings import DEFAULT_MAX_LENGTH, SMALL, FineTuneSettings
from runtime.cli_support import ERROR, FAIL, program, run
from runtime.console import megabytes, out

if TYPE_CHECKING:
    from export.pipeline import Exported

app = typer.Typer(
    help="Fine-tune DistilBERT, export it for phones, and prove that the logits agree.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (runtime.cli.classify, runtime.cli.inspect):
    app.command()(_command)
app.add_typer(runtime.cli_parity.app, name="parity")


class FineTuneWhen(StrEnum):
    """When an export fine-tunes first."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class TaskKind(StrEnum):
    """Single-label or multi-label."""

    SINGLE = "single_label"
    MULTI = "multi_label"


_DATA, _MODEL = "Data", "Model"
Data = Annotated[
    str,
    typer.Option(
        help="sample:sentiment, sample:support, a folder with train/validation/test files, one "
        "csv/tsv/jsonl/parquet file, or hub:ORG/NAME.",
        rich_help_panel=_DATA,
    ),
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column with the text.", rich_help_panel=_DATA)
]
LabelColumns = Annotated[
    str,
    typer.Option(
        help="Column with the label, or several 0/1 columns with commas between.",
        rich_help_panel=_DATA,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(help="What stands between two labels in a cell.", rich_help_panel=_DATA),
]
Labels = Annotated[
    str,
    typer.Option(help="Label names in order, with commas between.", rich_help_panel=_DATA),
]
Kind = Annotated[
    TaskKind | None,
    typer.Option(
        "--task", help="What a row may carry; found out if absent.", rich_help_panel=_DATA
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="small (trained from scratch, offline), a checkpoint's folder, or a name on the hub "
        "such as distilbert-base-uncased.",
        rich_help_panel=_MODEL,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Commit or tag on the hub.", rich_help_panel=_MODEL)
]
Epochs = Annotated[int | None, typer.Option(min=1, rich_help_panel=_MODEL)]
BatchSize = Annotated[int | None, typer.Option(min=1, rich_help_panel=_MODEL)]
LearningRate = Annotated[float | None, typer.Option(rich_help_panel=_MODEL)]
MaxLength = Annotated[
    int,
    typer.Option(
        min=8,
        max=512,
        help="Longest sequence in ids; longer texts are cut.",
        rich_help_panel=_MODEL,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of weights, shuffling and made splits.", rich_help_panel=_MODEL)
]


_COREML = "Core ML"
DeploymentTarget = Annotated[
    str | None,
    typer.Option(help="iOS16, iOS17 or iOS18; the recipe's if absent.", rich_help_panel=_COREML),
]
Shapes = Annotated[
    str | None,
    typer.Option(help="fixed, enumerated (iOS18) or range lengths.", rich_help_panel=_COREML),
]
Layout = Annotated[
    str | None,
    typer.Option(help="default, or ane: shaped for the Neural Engine.", rich_help_panel=_COREML),
]
Outputs = Annotated[
    str | None,
    typer.Option(
        help="logits, or classifier: label and probabilities too.", rich_help_panel=_COREML
    ),
]
ComputePrecision = Annotated[
    str | None,
    typer.Option(help="float16 or float32; the recipe's if absent.", rich_help_panel=_COREML),
]


def _data(
    source: str,
    text_column: str | None,
    label_columns: str,
    separator: str | None,
    labels: str,
    kind: TaskKind | None,
    seed: int,
) -> DataSettings:
    return DataSettings(
        source=source,
        text_column=text_column,
        label_columns=_names(label_columns),
        label_separator=separator,
        labels=_names(labels),
        kind=kind.value if kind else None,
        seed=seed,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _model(
    model: str,
    revision: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    max_length: int,
    seed: int,
) -> FineTuneSettings:
    settings = FineTuneSettings(model=model, revision=revision, max_length=max_length, seed=seed)
    if epochs is None and batch_size is None and learning_rate is None:
        return settings
    chosen = settings.effective.override(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
    )
    return replace(settings, hyperparameters=chosen)


@app.command()
def finetune(
    output: Annotated[Path, typer.Option("--out", help="The checkpoint's folder.")] = Path(
        "build/finetuned"
    ),
    model: Model = SMALL,
    revision: Revision = None,
    data: Data = "sample:sentiment",
    text_column: TextColumn = None,
    label_columns: LabelColumns = "",
    label_separator: LabelSeparator = None,
    labels: Labels = "",
    task: Kind = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    max_length: MaxLength = DEFAULT_MAX_LENGTH,
    seed: Seed = 13,
) -> None:
    """Fine-tune a classifier and write a checkpoint (safetensors and tokenizer)."""
    from export.publish import check_destination
    from export.training.finetune import fine_tune, is_run
    from export.training.table import print_training

    check_destination(output, is_ours=is_run)
    dataset = load_dataset(
        _data(data, text_column, label_columns, label_separator, labels, task, seed)
    )
    describe_data(dataset)
    settings = _model(model, revision, epochs, batch_size, learning_rate, max_length, seed)
    result = fine_tune(dataset, settings, output)
    print_training(result)
    out.print(
        f"next: {program()} export --target tflite --model {output} --data {data}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def export(
    target: Annotated[
        str,
        typer.Option(help="onnx, tflite, coreml, coreai or all; several with commas between."),
    ] = "tflite",
    recipe: Annotated[
        str,
        typer.Option(
            help="Recipes with commas between, made for every target, or all; each target's "
            "default ones if absent."
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--out", help="The bundle's folder; dist/TARGET by default.")
    ] = None,
    finetune_when: Annotated[
        FineTuneWhen,
        typer.Option(
            "--finetune",
            help="auto: only if the model has not learned the data's labels yet.",
            rich_help_panel=_MODEL,
        ),
    ] = FineTuneWhen.AUTO,
    model: Model = SMALL,
    revision: Revision = None,
    data: Data = "sample:sentiment",
    text_column: TextColumn = None,
    label_columns: LabelColumns = "",
    label_separator: LabelSeparator = None,
    labels: Labels = "",
    task: Kind = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    max_length: MaxLength = DEFAULT_MAX_LENGTH,
    reference_limit: Annotated[
        int, typer.Option(min=1, help="Most validation texts that the gate uses.")
    ] = 2000,
    texts: Annotated[
        Path | None,
        typer.Option(help="Your own texts without labels, one a line, for the gate as well."),
    ] = None,
    seed: Seed = 13,
    author: Annotated[
        str, typer.Option(help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "",
    license_: Annotated[
        str, typer.Option("--license", help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "",
    model_version: Annotated[
        str, typer.Option(help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "1.0",
    deployment_target: DeploymentTarget = None,
    shapes: Shapes = None,
    layout: Layout = None,
    outputs: Outputs = None,
    compute_precision: ComputePrecision = None,
) -> None:
    """Make a bundle: fine-tune if needed, convert, quantize, judge.

    Exit status: 0 the gate is green and the bundle is there, 1 the gate failed, 2 it could not be
    made or not be judged.
    """
    from export.pipeline import ExportSettings, export_bundle

    options = {
        "deployment_target": deployment_target,
        "shapes": shapes,
        "layout": layout,
        "outputs": outputs,
        "compute_precision": compute_precision,
    }
    settings = ExportSettings(
        targets=_names(target),
        recipes=_names(recipe),
        out=output or Path("dist") / target.replace(",", "-"),
        data=_data(data, text_column, label_columns, label_separator, labels, task, seed),
        model=_model(model, revision, epochs, batch_size, learning_rate, max_length, seed),
        fine_tune=finetune_when.value,
        reference_limit=reference_limit,
        texts=texts,
        options={name: value for name, value in options.items() if value is not None},
        author=author,
        license=license_,
        version=model_version,
    )
    exported = export_bundle(settings)
    _print_export(exported)


def _print_export(exported: Exported) -> None:
    from export.training.table import print_training
    from runtime.parity.table import print_details, terminal_table

    if exported.training is not None:
        print_training(exported.training)
    report = exported.report
    out.print(terminal_table(report))
    print_details(report)
    if exported.bundle is None:
        out.print(f"gate: {report.verdict.upper()}; no bundle was made", style="bold red")
        if report.reference_doubts:
            out.print("train it better first: more EPOCHS=, more data, or a pretrained MODEL=")
        out.print(f"the rejected files, for study: {exported.rejected}", markup=False)
        raise typer.Exit(FAIL if report.verdict == "fail" else ERROR)
    weights = 4 * exported.manifest.source.parameters
    for artifact in exported.manifest.artifacts:
        share = artifact.bytes / weights
        out.print(
            f"  {artifact.path:<20} {megabytes(artifact.bytes):>9}, {share:.2f} of PyTorch's "
            "float32 weights",
            markup=False,
        )
    bundle = exported.bundle
    out.print(f"gate: PASS; bundle: {bundle}", style="bold green", markup=False)
    out.print(f'next: {program()} classify {bundle} "not bad at all"', markup=False)
    out.print(f"      {program()} inspect {bundle}", markup=False)
    out.print(f"      {program()} parity {bundle}", markup=False)


def main() -> None:
    """Entry point of mobile-export."""
    no_warnings()
    run(app)


if __name__ == "__main__":
    main()
