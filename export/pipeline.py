"""The main job: data and model → a judged bundle."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from export.artifacts import Wanted, make_artifacts
from export.boundary import BOUNDARY_TEXTS
from export.bundle_writer import Facts, data_spec, judge_and_seal
from export.card_facts import source_spec, told_of_training, training_metrics
from export.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_classifier,
    load_tokenizer,
    read_checkpoint,
)
from export.data import load_dataset
from export.data.report import describe_data
from export.data.task import TextDataset
from export.golden_writer import choose_validation, golden_from_reference, with_boundary
from export.model_choice import checkpoint_folder, choose, labels_of, relabel, task_spec
from export.planning import ExportSettings, is_bundle, plan
from export.prepare import Prepared
from export.publish import publish_folder, staging_folder
from export.recipes.sizes import CALIBRATION_TEXTS
from export.reference import Reference, reference_from_model
from export.reference_trace import write_reference_trace
from export.search.find import find_recipe
from export.search.settings import check_texts
from export.shrinking.exporting import shrink_for_export, shrunk_markdown
from export.targets.base import ArtifactMetadata, Source
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.finetune import FineTuned, fine_tune, is_run
from export.training.provenance import record_of
from export.training.quantized.on_grid import lies_on_grid
from export.training.quantized.provenance import notes_on, tuned_for
from export.training.record import TrainingRecord, read_record
from export.training.report import write_training_report
from export.unlabelled import choose_unlabelled, read_texts
from export.vectors import choose_encoder, task_of, vector_reference
from runtime.bundle import PARITY
from runtime.console import note, progress_bar, stage
from runtime.errors import UserError
from runtime.golden import BOUNDARY, Golden
from runtime.manifest import Manifest, TaskSpec, TokenizerSpec
from runtime.parity.judge import ParityReport
from runtime.parity.run import in_all
from runtime.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        bundle: the folder; None unless the verdict is a pass.
        rejected: where the artifacts of a verdict other than pass were left, without a manifest.
        training: the fine-tuning that came first, None where the checkpoint was there already.
    """

    bundle: Path | None
    rejected: Path | None
    manifest: Manifest
    report: ParityReport
    training: FineTuned | None


def is_rejected(path: Path) -> bool:
    """Whether a folder holds what an earlier run's gate turned down."""
    return (path / PARITY).is_file() and not is_bundle(path)


def export_bundle(settings: ExportSettings) -> Exported:
    """Run the whole way.

    Raises:
        UserError: anything that the user can put right; nothing is left half written.
    """
    chosen = plan(settings)
    own_texts = read_texts(settings.texts) if settings.texts else ()
    with stage(f"reading {settings.data.source}"):
        dataset = load_dataset(settings.data)
    describe_data(dataset)
    checkpoint, training, smaller = _smaller_checkpoint(dataset, settings)
    if settings.vectors:
        reference = vector_reference(checkpoint, settings.vectors)
    else:
        dataset = relabel(dataset, labels_of(checkpoint, dataset))
        reference = reference_from_model(load_classifier(checkpoint))
    max_length = min(settings.model.max_length, reference.max_positions)
    lengths = settings.lengths_up_to(max_length)
    with staging_folder(settings.out) as staging:
        tokenizer = load_tokenizer(checkpoint)
        spec = describe_tokenizer(tokenizer, max_length, checkpoint.family)
        write_tokenizer(tokenizer, spec, staging)
        task = task_of(settings.vectors) if settings.vectors else task_spec(dataset, checkpoint)
        golden = _golden(reference, staging, spec, task, dataset, own_texts, settings)
        record = None if settings.vectors else record_of(checkpoint.path)
        _note_tuning(record, reference, chosen)
        facts = Facts(
            name=settings.out.name,
            task=task,
            tokenizer=spec,
            source=source_spec(checkpoint, reference),
            data=data_spec(dataset),
            metrics=training_metrics(record),
            training=told_of_training(record, smaller),
        )
        source = Source(
            reference=reference,
            lengths=lengths,
            task=facts.task,
            pad_id=spec.pad_id,
            pad_side=spec.pad_side,
            metadata=_metadata(settings, facts),
            calibration=_calibration(dataset, TextTokenizer(staging / spec.file, spec)),
            cache=settings.cache,
        )
        if settings.search is not None:
            (only,) = chosen
            chosen = [
                find_recipe(settings.search, only, settings.options, source, golden, facts, staging)
            ]
        prepared = Prepared()
        made = [
            artifact
            for wanted in chosen
            for artifact in make_artifacts(wanted, source, golden, staging, prepared)
        ]
        write_reference_trace(
            reference, golden, lengths, spec.pad_id, staging, [artifact.trace for artifact in made]
        )
        with stage("parity gate"), progress_bar("judging") as progress:
            manifest, report = judge_and_seal(
                staging, facts, made, golden, progress=in_all(progress, len(made))
            )
        rejected = settings.out.with_name(f"{settings.out.name}.rejected")
        if report.verdict != "pass":
            publish_folder(staging, rejected, is_ours=is_rejected)
            return Exported(None, rejected, manifest, report, training)
        publish_folder(staging, settings.out, is_ours=is_bundle)
        if is_rejected(rejected):  # an earlier run's; its evidence is out of date
            shutil.rmtree(rejected, ignore_errors=True)
        return Exported(settings.out, None, manifest, report, training)


def _note_tuning(record: TrainingRecord | None, reference: Reference, chosen: list[Wanted]) -> None:
    """Say which recipes a tuned checkpoint was tuned for, and which not."""
    if tuned_for(record) is None:
        return
    wanted = [recipe for each in chosen for recipe, _ in each.jobs]
    fits = [(recipe, lies_on_grid(reference.module.model, recipe)) for recipe in wanted]
    for line in notes_on(record, fits):
        note(f"  {line}")


def _smaller_checkpoint(
    dataset: TextDataset, settings: ExportSettings
) -> tuple[Checkpoint, FineTuned | None, str]:
    """As `_checkpoint`, shrunk if that is asked for; with what the card says of it.

    A checkpoint that is there is shrunk first, so that fine-tuning, where it is wanted, makes up
    for what was left out. A small model, trained here from scratch, is shrunk afterwards.
    """
    model = settings.model
    if settings.shrink is None:
        checkpoint, training = _checkpoint(dataset, settings)
        return checkpoint, training, shrunk_markdown(checkpoint.path)
    what = (settings.shrink, settings.checkpoints, dataset, model.max_length)
    if model.is_from_scratch:
        checkpoint, training = _checkpoint(dataset, settings)
        checkpoint = shrink_for_export(checkpoint, *what)
        return checkpoint, training, shrunk_markdown(checkpoint.path)
    smaller = shrink_for_export(find_checkpoint(model.model, model.revision), *what)
    model = replace(model, model=str(smaller.path), revision=None)
    checkpoint, training = _checkpoint(dataset, replace(settings, model=model))
    if checkpoint.path == smaller.path:
        checkpoint = smaller
    return checkpoint, training, shrunk_markdown(checkpoint.path, smaller.path)


def _checkpoint(
    dataset: TextDataset, settings: ExportSettings
) -> tuple[Checkpoint, FineTuned | None]:
    """The checkpoint to export, and the fine-tuning that made it, if there was one just now."""
    if settings.vectors:
        choice = choose_encoder(settings.model, settings.fine_tune)
    else:
        choice = choose(dataset, settings.model, settings.fine_tune)
    note(f"  {choice.reason}")
    if choice.checkpoint is not None:
        return choice.checkpoint, None
    folder = checkpoint_folder(settings.checkpoints, dataset, settings.model)
    training = None
    if is_run(folder) and settings.fine_tune != "always":
        note(f"  using the finished checkpoint {folder} (FINETUNE=always trains it anew)")
    else:
        with stage(f"fine-tuning {settings.model.model} on {dataset.name}"):
            training = fine_tune(dataset, settings.model, folder)
        write_training_report(folder)
    record = read_record(folder)
    return read_checkpoint(folder, name=record.model, revision=record.revision), training


def _golden(
    reference: Reference,
    staging: Path,
    spec: TokenizerSpec,
    task: TaskSpec,
    dataset: TextDataset,
    own_texts: tuple[str, ...],
    settings: ExportSettings,
) -> Golden:
    """The reference set, with its logits."""
    limit = settings.reference_limit
    validation = choose_validation(dataset.splits["validation"], limit)
    train, test = ([e.text for e in dataset.splits[split]] for split in ("train", "test"))
    unlabelled = choose_unlabelled([e.text for e in validation], train, test, own_texts, limit)
    if own_texts and not (used := len({*own_texts} & {*unlabelled})):
        raise UserError(
            f"no text of {settings.texts} is of use",
            why="the training or validation data have all of them",
        )
    if own_texts:
        note(f"  {used} of the {len(own_texts)} texts in {settings.texts} are in the reference set")
    if task.gives_vectors:  # nobody's label plays a part
        unlabelled = (*dict.fromkeys(e.text for e in validation), *unlabelled)
        validation = ()
    if settings.search is not None:
        check_texts(settings.search.max_flips, len(validation) + len(unlabelled))
    lengths = settings.lengths_up_to(spec.max_length)
    with stage("PyTorch float32 reference"), progress_bar("reference") as progress:
        golden = golden_from_reference(
            reference,
            staging,
            spec,
            validation,
            lengths,
            unlabelled=unlabelled,
            cache=settings.cache,
            progress=progress,
        )
    if task.gives_vectors:
        return golden
    with stage("texts near the decision boundary"):
        texts = TextTokenizer(staging / spec.file, spec)
        golden = with_boundary(golden, reference, texts, task, cache=settings.cache)
    if (found := len(golden.rows(BOUNDARY))) < BOUNDARY_TEXTS:
        note(f"  {found} instead of {BOUNDARY_TEXTS}: this model is seldom nearly undecided")
    return golden


def _metadata(settings: ExportSettings, facts: Facts) -> ArtifactMetadata:
    labels = len(facts.task.labels)
    what = f"{facts.task.kind.replace('_', '-')} text classifier, "
    what += f"{labels} label{'s' if labels > 1 else ''}"
    if facts.task.gives_vectors:
        what = f"Sentence vectors by {facts.task.pooling} pooling"
    return ArtifactMetadata(
        name=facts.source.model,
        description=f"{what}, {facts.source.architecture}",
        author=settings.author or f"mobile-export {importlib.metadata.version('mobile-export')}",
        license=settings.license or _license(settings),
        version=settings.version,
        contract_sha256=facts.contract_sha256,
    )


def _license(settings: ExportSettings) -> str:
    """A model from random weights learns from nothing but the embedded sample, which is ours."""
    if settings.model.is_from_scratch and settings.data.source.startswith("sample:"):
        return "Apache-2.0"
    return "as the base model and the data allow; name it with LICENSE= when you export"


def _calibration(dataset: TextDataset, tokenizer: TextTokenizer) -> tuple[tuple[int, ...], ...]:
    """Training texts, so that the gate's own texts play no part in what is gated."""
    examples = choose_validation(dataset.splits["train"], CALIBRATION_TEXTS)
    return tuple(tuple(tokenizer.ids(example.text)) for example in examples)
