"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from export.data import DataSettings
from export.data.label_names import read_label_names
from export.settings import BaselineName, FineTuneSettings, RunOptions
from export.shrinking.settings import ShrinkSettings
from runtime.errors import UserError

DATA, MODEL, TRAINING, SHRINKING = "Data", "Model", "Training", "A smaller model"
SEARCH = "A search for the best recipe"
LESSON = "Lesson"
BASELINES: tuple[BaselineName, ...] = ("bag_of_words", "lstm")


class TaskKind(StrEnum):
    """Single-label or multi-label."""

    SINGLE = "single_label"
    MULTI = "multi_label"


class TuningKind(StrEnum):
    """What learns."""

    WHOLE = "whole"
    HEAD = "head"


class WeightsKind(StrEnum):
    """How much a label counts."""

    NONE = "none"
    BALANCED = "balanced"


class ThresholdsKind(StrEnum):
    """From which probability on a label is given."""

    TUNED = "tuned"
    HALF = "half"


class PrecisionKind(StrEnum):
    """Of the passes in training."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


Data = Annotated[
    str,
    typer.Option(
        help="sample:sentiment, sample:support, sample:topic, a folder with "
        "train/validation/test files, one csv/tsv/jsonl/parquet file, or hub:ORG/NAME.",
        rich_help_panel=DATA,
    ),
]
TextColumn = Annotated[str | None, typer.Option(help="Column with the text.", rich_help_panel=DATA)]
LabelColumns = Annotated[
    str,
    typer.Option(
        help="Column with the label, or several 0/1 columns with commas between.",
        rich_help_panel=DATA,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(help="What stands between two labels in a cell.", rich_help_panel=DATA),
]
Labels = Annotated[
    str,
    typer.Option(help="Label names in order, with commas between.", rich_help_panel=DATA),
]
LabelNames = Annotated[
    str,
    typer.Option(
        help="Words for the file's codes: 0=bad,1=good, or a file with such lines.",
        rich_help_panel=DATA,
    ),
]
Kind = Annotated[
    TaskKind | None,
    typer.Option("--task", help="What a row may carry; found out if absent.", rich_help_panel=DATA),
]
Model = Annotated[
    str,
    typer.Option(
        help="small, small:FAMILY or full, which has distilbert-base-uncased's sizes (trained from "
        "scratch, offline), a checkpoint's folder, or a name on the hub such as "
        "distilbert-base-uncased.",
        rich_help_panel=MODEL,
    ),
]
Lengths = Annotated[
    str,
    typer.Option(
        help="Sequence lengths of formats with fixed shapes, with commas; the longest is always "
        "there. 32,64 if absent.",
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Commit or tag on the hub.", rich_help_panel=MODEL)
]
MaxLength = Annotated[
    int,
    typer.Option(
        min=8,
        max=512,
        help="Longest sequence in ids; longer texts are cut.",
        rich_help_panel=MODEL,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of weights, shuffling and made splits.", rich_help_panel=MODEL)
]
Epochs = Annotated[int | None, typer.Option(min=1, rich_help_panel=TRAINING)]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Texts per process and pass.", rich_help_panel=TRAINING),
]
LearningRate = Annotated[float | None, typer.Option(rich_help_panel=TRAINING)]
Accumulation = Annotated[
    int | None,
    typer.Option(min=1, help="Passes that make one step.", rich_help_panel=TRAINING),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after so many epochs without a better one; 0 trains them all.",
        rich_help_panel=TRAINING,
    ),
]
Weights = Annotated[
    WeightsKind | None,
    typer.Option(
        "--class-weights", help="balanced: rare labels count as much.", rich_help_panel=TRAINING
    ),
]
Tuning = Annotated[
    TuningKind,
    typer.Option(
        help="head: the encoder stays as it is, ten times faster.", rich_help_panel=TRAINING
    ),
]
Thresholds = Annotated[
    ThresholdsKind,
    typer.Option(
        help="Multi-label: tuned on the validation split, or half: 0.5.", rich_help_panel=TRAINING
    ),
]
Precision = Annotated[
    PrecisionKind,
    typer.Option(
        help="Of the passes in training; the checkpoint is float32.", rich_help_panel=TRAINING
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="With torch.compile.", rich_help_panel=TRAINING)
]
SaveEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps between resume checkpoints; as often as is cheap if absent.",
        rich_help_panel=TRAINING,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Start anew instead of continuing an interrupted run.",
        rich_help_panel=TRAINING,
    ),
]
Tensorboard = Annotated[
    Path | None, typer.Option(help="Folder for TensorBoard.", rich_help_panel=TRAINING)
]
Baselines = Annotated[
    str,
    typer.Option(
        help="all, none, or of bag_of_words and lstm with commas between.",
        rich_help_panel=TRAINING,
    ),
]
PruneVocab = Annotated[
    str,
    typer.Option(
        help="Keep the pieces that these texts need, and every character: a file with one text a "
        "line, or data: the training texts of --data.",
        rich_help_panel=SHRINKING,
    ),
]
MinCount = Annotated[
    int,
    typer.Option(
        min=1, help="Leave pieces out that occur less often there.", rich_help_panel=SHRINKING
    ),
]
VocabSize = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens; the commonest pieces stay.", rich_help_panel=SHRINKING),
]
KeepLayers = Annotated[
    str, typer.Option("--layers", help="Layers to keep, from 0: 0,2,4.", rich_help_panel=SHRINKING)
]
DropLayers = Annotated[
    str, typer.Option(help="Layers to leave out, from 0: 1,3.", rich_help_panel=SHRINKING)
]
Budget = Annotated[
    str,
    typer.Option(
        help="Find the most faithful artifact of at most this size, such as 48MB (10^6 bytes) or "
        "45MiB; with --max-flips the smallest. Recipes are tried, and mixed weight by weight.",
        rich_help_panel=SEARCH,
    ),
]
MaxFlips = Annotated[
    str,
    typer.Option(
        help="Find the smallest artifact whose 95% upper bound on flipped decisions is at most "
        "this, such as 0.5% (which takes 598 texts without a flip).",
        rich_help_panel=SEARCH,
    ),
]

Temperature = Annotated[float, typer.Option(help="Of the soft targets.", rich_help_panel=LESSON)]


def data_settings(
    source: str,
    text_column: str | None,
    label_columns: str,
    separator: str | None,
    labels: str,
    label_names: str,
    kind: TaskKind | None,
    seed: int,
) -> DataSettings:
    """The data options together.

    Raises:
        UserError: two options contradict each other.
    """
    return DataSettings(
        source=source,
        text_column=text_column,
        label_columns=names(label_columns),
        label_separator=separator,
        labels=names(labels),
        label_names=read_label_names(label_names),
        kind=kind.value if kind else None,
        seed=seed,
    )


def names(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(option: str, text: str, todo: str) -> tuple[int, ...]:
    """Whole numbers between commas.

    Raises:
        UserError: something else stands there; `todo` says what to do.
    """
    try:
        return tuple(int(part) for part in names(text))
    except ValueError:
        raise UserError(f"{option} {text} is no list of numbers", todo=todo) from None


def layers_of(option: str, text: str) -> tuple[int, ...] | None:
    """Layers by number; None where none is named.

    Raises:
        UserError: one is no number.
    """
    return numbers(option, text, f"name them from 0: {option} 0,2,4") or None


def shrink_settings(
    corpus: str, min_count: int, vocab_size: int | None, layers: str, drop_layers: str
) -> ShrinkSettings | None:
    """The options of a smaller model together; None where there are none.

    Raises:
        UserError: a layer is no number, or two options contradict each other.
    """
    if not (corpus or layers or drop_layers) and min_count == 1 and vocab_size is None:
        return None
    return ShrinkSettings(
        corpus=corpus,
        min_count=min_count,
        vocab_size=vocab_size,
        keep_layers=layers_of("--layers", layers),
        drop_layers=layers_of("--drop-layers", drop_layers),
    )


def training_settings(
    settings: FineTuneSettings,
    run: RunOptions,
    *,
    class_weights: WeightsKind | None,
    patience: int | None,
    **values: Any,
) -> FineTuneSettings:
    """Settings with the hyper-parameters that were named.

    Args:
        settings: of the model.
        run: what does not change the result.
        class_weights: None keeps the default.
        patience: None keeps the default; 0 turns it off.
        values: hyper-parameters by name; None keeps the default.

    Raises:
        UserError: a value out of its range.
    """
    settings = replace(settings, run=run)
    values["class_weights"] = class_weights.value if class_weights else None
    values["patience"] = patience or None
    if patience is None and all(value is None for value in values.values()):
        return settings
    chosen = settings.effective.override(**values)
    if patience == 0:
        chosen = replace(chosen, patience=None)
    return replace(settings, hyperparameters=chosen)


def baselines_of(text: str) -> tuple[BaselineName, ...]:
    """The option --baselines.

    Raises:
        UserError: a name is unknown.
    """
    if text == "all":
        return BASELINES
    wanted = () if text == "none" else names(text)
    for name in wanted:
        if name not in BASELINES:
            raise UserError(
                f"there is no baseline {name!r}", todo=f"choose among: {', '.join(BASELINES)}"
            )
    return tuple(name for name in BASELINES if name in wanted)
