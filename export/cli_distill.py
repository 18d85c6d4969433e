"""The command `distill`."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export import cli_options as options
from export.data import DataSettings, load_dataset
from export.data.report import describe_data
from export.settings import DEFAULT_MAX_LENGTH, FineTuneSettings, RunOptions
from export.training.processes import world
from runtime.cli_support import program
from runtime.console import err, note, out
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.training.distill.settings import DistillSettings

_SAMPLE = "sample:sentiment"
# The teacher's answers, so that it is asked once per text whatever is tried with them.
_CACHE = Path("build/teacher-answers")
# Seconds until a launcher has ended all processes because of one, with room to spare.
_TIME_TO_SPEAK = 3.0


class LessonKind(StrEnum):
    """What is taught."""

    TASK = "task"
    GENERAL = "general"


class Positions(StrEnum):
    """Where the soft targets are compared."""

    ALL = "all"
    MASKED = "masked"


def distill(
    teacher: Annotated[str, typer.Option(help="A checkpoint's folder or hub name.")],
    output: Annotated[Path, typer.Option("--out", help="The student's folder.")] = Path(
        "build/distilled"
    ),
    kind: Annotated[
        LessonKind,
        typer.Option(
            help="task: a fine-tuned teacher's answers. general: language, by hidden words, from a "
            "teacher that was only pre-trained.",
            rich_help_panel=options.LESSON,
        ),
    ] = LessonKind.TASK,
    student: Annotated[
        str,
        typer.Option(
            help="from-teacher (half of its layers; a BERT gives a DistilBERT), same-family (half "
            "of its layers), small, small:FAMILY or full (new, with the teacher's tokenizer), a "
            "folder or a hub name.",
            rich_help_panel=options.LESSON,
        ),
    ] = "from-teacher",
    layers: Annotated[
        str,
        typer.Option(
            help="Which of the teacher's layers the student gets, from 0: 0,2,4.",
            rich_help_panel=options.LESSON,
        ),
    ] = "",
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts without labels, one a line, to learn from as well."),
    ] = None,
    temperature: options.Temperature = 2.0,
    alpha: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="task: weight of the teacher's answers; the labels have the rest.",
            rich_help_panel=options.LESSON,
        ),
    ] = 0.5,
    alpha_ce: Annotated[
        float,
        typer.Option(help="general: weight of the soft targets.", rich_help_panel=options.LESSON),
    ] = 5.0,
    alpha_mlm: Annotated[
        float,
        typer.Option(help="general: weight of the hidden words.", rich_help_panel=options.LESSON),
    ] = 2.0,
    alpha_cos: Annotated[
        float,
        typer.Option(help="general: weight of the hidden states.", rich_help_panel=options.LESSON),
    ] = 1.0,
    soft_on: Annotated[
        Positions,
        typer.Option(
            help="general: compare the soft targets at all tokens or at the hidden ones.",
            rich_help_panel=options.LESSON,
        ),
    ] = Positions.ALL,
    data: Annotated[
        str | None,
        typer.Option(
            help="As for finetune; sample:sentiment if neither this nor --texts is given. "
            "general: its labels play no part.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    text_column: options.TextColumn = None,
    label_columns: options.LabelColumns = "",
    label_separator: options.LabelSeparator = None,
    labels: options.Labels = "",
    label_names: options.LabelNames = "",
    task: options.Kind = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=512,
            help=f"Longest sequence in ids; {DEFAULT_MAX_LENGTH} or what the teacher can read.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    seed: options.Seed = 13,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    accumulation: options.Accumulation = None,
    patience: options.Patience = None,
    class_weights: options.Weights = None,
    thresholds: options.Thresholds = options.ThresholdsKind.TUNED,
    precision: options.Precision = options.PrecisionKind.AUTO,
    compile_: options.Compile = False,
    save_every: options.SaveEvery = None,
    fresh: options.Fresh = False,
    tensorboard: options.Tensorboard = None,
    baselines: options.Baselines = "all",
) -> None:
    """Teach a small model what a big one knows, and write it as a checkpoint.

    An interrupted run is continued by the same command.
    """
    from export.training.distill.hyperparameters import suitable
    from export.training.distill.settings import DistillSettings, GeneralWeights
    from export.training.distill.teacher import peek

    if data is None and (texts is None or kind is LessonKind.TASK):
        data = _SAMPLE
    settings = DistillSettings(
        teacher=teacher,
        kind=kind.value,
        student=student,
        layers=options.layers_of("--layers", layers),
        temperature=temperature,
        alpha=alpha,
        weights=GeneralWeights(alpha_ce, alpha_mlm, alpha_cos),
        soft_positions=soft_on.value,
    )
    family, config = peek(teacher)
    training = options.training_settings(
        FineTuneSettings(
            model=student,
            hyperparameters=suitable(settings, config),
            max_length=max_length or min(DEFAULT_MAX_LENGTH, family.longest(config) or 512),
            seed=seed,
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
    settings = replace(settings, training=training)
    source = data and options.data_settings(
        data, text_column, label_columns, label_separator, labels, label_names, task, seed
    )
    work = _task if kind is LessonKind.TASK else _general
    if world().leads:
        work(settings, source or None, texts, output)
        return
    err.quiet = True
    try:
        work(settings, source or None, texts, output)
    except UserError:
        # As in finetune: the first process speaks, unless this error is this one's alone.
        time.sleep(_TIME_TO_SPEAK)
        err.quiet = False
        raise


def _task(
    settings: DistillSettings, source: DataSettings | None, texts: Path | None, output: Path
) -> None:
    from export.publish import check_destination
    from export.training.distill.table import print_distilled
    from export.training.distill.task import distill_task
    from export.training.finetune import is_run
    from export.training.report import write_training_report
    from export.unlabelled import read_texts

    check_destination(output, is_ours=is_run)
    dataset = load_dataset(source or DataSettings())
    describe_data(dataset)
    more = read_texts(texts) if texts is not None else ()
    result = distill_task(dataset, more, settings, output, _CACHE)
    if result is None:
        return
    write_training_report(output)
    print_distilled(result)
    data = (source or DataSettings()).source
    _next(f"export --target tflite --model {output} --data {data}", settings)


def _general(
    settings: DistillSettings, source: DataSettings | None, texts: Path | None, output: Path
) -> None:
    from export.publish import check_destination
    from export.training.distill.general import distill_general
    from export.training.distill.table import print_taught
    from export.training.distill.texts import general_texts
    from export.training.finetune import is_run
    from export.training.report import write_training_report
    from export.unlabelled import read_texts

    check_destination(output, is_ours=is_run)
    dataset = load_dataset(source) if source else None
    if dataset is not None:
        describe_data(dataset)
    own = read_texts(texts) if texts is not None else ()
    learned, held_out = general_texts(dataset, own)
    note(f"  {len(learned)} texts to learn from, {len(held_out)} to judge by; no labels")
    name = dataset.name if dataset is not None else (texts.name if texts else "texts")
    result = distill_general(learned, held_out, settings, output, name=name)
    if result is None:
        return
    write_training_report(output)
    print_taught(result)
    _next(f"finetune --model {output} --data {source.source if source else 'FILE'}", settings)


def _next(command: str, settings: DistillSettings) -> None:
    longest = settings.training.max_length
    if longest != DEFAULT_MAX_LENGTH:
        command = f"{command} --max-length {longest}"
    out.print(f"next: {program()} {command}", markup=False, soft_wrap=True)
