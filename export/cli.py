"""The command line, and nothing else: parse, call, print.

Modules that need torch are imported inside the commands, so that --help and the runtime's commands
answer at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import runtime.cli
import runtime.cli_parity
from export import cli_options as options
from export.cli_distill import distill
from export.cli_embed import NormalizeOption, PoolingName, PoolingOption, Product, embed
from export.cli_finetune import finetune
from export.cli_report import report
from export.cli_shrink import shrink
from export.cli_trace import trace
from export.cli_tune import tune_quantized
from export.quiet import no_warnings
from export.settings import DEFAULT_MAX_LENGTH, SMALL, FineTuneSettings, RunOptions
from runtime.cli_support import ERROR, FAIL, program, run
from runtime.console import megabytes, out
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.pipeline import Exported

app = typer.Typer(
    help="Fine-tune a classifier of BERT's family, export it for phones, prove that logits agree.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (
    finetune,
    distill,
    tune_quantized,
    shrink,
    runtime.cli.classify,
    runtime.cli.inspect,
    trace,
    embed,
    report,
):
    app.command()(_command)
app.add_typer(runtime.cli_parity.app, name="parity")


class FineTuneWhen(StrEnum):
    """When an export fine-tunes first."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


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
            "default ones if absent. A recipe's own .toml file is taken as well."
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--out", help="The bundle's folder; dist/TARGET by default.")
    ] = None,
    budget: options.Budget = "",
    max_flips: options.MaxFlips = "",
    product: Annotated[
        Product,
        typer.Option("--as", help="classifier, or embedding: sentence vectors instead of labels."),
    ] = Product.CLASSIFIER,
    pooling: PoolingOption = PoolingName.MEAN,
    normalize: NormalizeOption = True,
    finetune_when: Annotated[
        FineTuneWhen,
        typer.Option(
            "--finetune",
            help="auto: only if the model has not learned the data's labels yet.",
            rich_help_panel=options.MODEL,
        ),
    ] = FineTuneWhen.AUTO,
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
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Convert anew and keep nothing; as --fresh does. Otherwise float conversions and "
            "PyTorch's answers are kept below build/ under a hash of all they depend on.",
        ),
    ] = False,
    tensorboard: options.Tensorboard = None,
    baselines: options.Baselines = "all",
    prune_vocab: options.PruneVocab = "",
    min_count: options.MinCount = 1,
    vocab_size: options.VocabSize = None,
    layers: options.KeepLayers = "",
    drop_layers: options.DropLayers = "",
    reference_limit: Annotated[
        int, typer.Option(min=1, help="Most validation texts that the gate uses.")
    ] = 2000,
    texts: Annotated[
        Path | None,
        typer.Option(help="Your own texts without labels, one a line, for the gate as well."),
    ] = None,
    seed: options.Seed = 13,
    author: Annotated[
        str, typer.Option(help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "",
    license_: Annotated[
        str, typer.Option("--license", help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "",
    model_version: Annotated[
        str, typer.Option(help="For the model's metadata.", rich_help_panel=_COREML)
    ] = "1.0",
    lengths: options.Lengths = "",
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
    from export import content_cache
    from export.pipeline import export_bundle
    from export.planning import ExportSettings
    from export.pooling import EmbeddingSettings
    from export.search.settings import search_settings
    from export.training.processes import world

    if world().size > 1:
        raise UserError(
            "an export runs in one process",
            todo="train in several with finetune, then export its checkpoint: MODEL=FOLDER",
        )
    vectors = EmbeddingSettings(pooling.value, normalize, max_length)
    target_options = {
        "deployment_target": deployment_target,
        "shapes": shapes,
        "layout": layout,
        "outputs": outputs,
        "compute_precision": compute_precision,
    }
    settings = ExportSettings(
        targets=options.names(target),
        recipes=options.names(recipe),
        out=output or Path("dist") / target.replace(",", "-"),
        data=options.data_settings(
            data, text_column, label_columns, label_separator, labels, label_names, task, seed
        ),
        model=options.training_settings(
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
        ),
        fine_tune=finetune_when.value,
        shrink=options.shrink_settings(prune_vocab, min_count, vocab_size, layers, drop_layers),
        lengths=options.numbers("--lengths", lengths, "for example 32,64"),
        reference_limit=reference_limit,
        texts=texts,
        vectors=vectors if product is Product.EMBEDDING else None,
        search=search_settings(budget, max_flips),
        options={name: value for name, value in target_options.items() if value is not None},
        author=author,
        license=license_,
        version=model_version,
        cache=content_cache.NO_CACHE if no_cache or fresh else content_cache.usual_cache(),
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
        if report.reference_doubts and not exported.manifest.task.gives_vectors:
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
    if exported.manifest.task.gives_vectors:
        out.print(f'next: mobile-runtime embed {bundle} "not bad" "rather good"', markup=False)
    else:
        out.print(f'next: {program()} classify {bundle} "not bad at all"', markup=False)
    out.print(f"      {program()} inspect {bundle}", markup=False)
    out.print(f"      {program()} parity {bundle}", markup=False)
    for recipe in sorted(bundle.glob("*_search.toml")):
        again = f"export --target {recipe.name.removesuffix('_search.toml')} --recipe {recipe}"
        out.print(f"the same recipe again: {program()} {again} …", markup=False, soft_wrap=True)


def main() -> None:
    """Entry point of mobile-export."""
    no_warnings()
    run(app)


if __name__ == "__main__":
    main()
