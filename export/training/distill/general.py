"""General distillation: a student learns language from a teacher, on texts without labels.

As in the DistilBERT paper (arXiv 1910.01108), section 3. What comes out is a masked language model,
which fine-tuning starts from like from any other checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from export.publish import check_destination, publish_folder, staging_folder
from export.settings import FineTuneSettings
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.arguments import device_name, resolve_precision
from export.training.carry_out import carry_out
from export.training.conclude import versions
from export.training.distill.compare import milliseconds, weight_bytes
from export.training.distill.hyperparameters import suitable
from export.training.distill.language import (
    LanguageLoss,
    Score,
    count_tokens,
    masked_accuracy,
    score,
)
from export.training.distill.masking import VALIDATION_EPOCH, MaskedTexts, PadMasked
from export.training.distill.settings import DistillSettings
from export.training.distill.start import language_student, taken_layers
from export.training.distill.teacher import Teacher, load_teaching_language_model
from export.training.history import History
from export.training.model import Start
from export.training.objective import Objective, padding_of
from export.training.processes import world
from export.training.record import TrainingRecord, TransformerCost, is_run, write_record
from export.training.resume import RunFolder, run_folder
from runtime.errors import UserError

METRIC = "masked_accuracy"


@dataclass(frozen=True, slots=True)
class Taught:
    """A finished general distillation.

    Attributes:
        checkpoint: folder with the best epoch's weights.
        record: everything, as training.json has it.
        before, after: the student on the validation texts.
        teacher_accuracy: the teacher's first guesses of the same hidden words; None where only its
            hidden states were asked for.
        sizes: ``teacher`` and ``student`` → parameters, bytes, milliseconds per text.
    """

    checkpoint: Path
    record: TrainingRecord
    before: Score
    after: Score
    teacher_accuracy: float | None
    sizes: dict[str, dict[str, float]]
    seconds: float


def distill_general(
    texts: Sequence[str],
    validation: Sequence[str],
    settings: DistillSettings,
    destination: Path,
    *,
    name: str = "texts",
) -> Taught | None:
    """Train a student on a teacher's predictions and hidden states, and write its checkpoint.

    Args:
        texts: to learn from.
        validation: to choose the best epoch by; the same words are hidden every time.
        settings: teacher, student, weights of the terms.
        destination: the checkpoint's folder; replaced as a whole once training is done.
        name: of the texts, for training.json.

    Returns:
        What came of it; None in all processes but the first, where several train.

    Raises:
        UserError: teacher and student do not fit together, or training cannot go on.
    """
    began = time.monotonic()
    training = settings.training
    teacher = load_teaching_language_model(
        settings.teacher, training.max_length, needs_head=settings.weights.soft > 0
    )
    start = language_student(settings, teacher, texts)
    _check_sizes(settings, teacher, start)
    chosen = training.hyperparameters or suitable(settings, teacher.model.config)
    training = replace(training, model=settings.student, hyperparameters=chosen)
    lesson = _Lesson(settings, training, teacher, start)
    held_out = lesson.rows(validation, VALIDATION_EPOCH)
    objective = lesson.objective(lesson.rows(texts, 0), held_out)
    # Before the first step, so that a run that is continued says the same.
    before = lesson.score(start.model, held_out)
    run = RunFolder(run_folder(destination))
    data = {
        "name": name,
        "sha256": _digest([*texts, "", *validation]),
        "rows": {"train": len(texts), "validation": len(validation)},
        "labels": [],
        "multi_label": False,
    }

    def train() -> History:
        return carry_out(
            objective,
            training,
            run,
            metric=METRIC,
            evaluate=lambda module: lesson.figures(module, held_out),
            identity={"data_sha256": data["sha256"]},
        )

    if not world().leads:
        train()
        return None
    check_destination(destination, is_ours=is_run)
    with run.locked():
        try:
            history = train()
            result = lesson.conclude(history, held_out, before, data, destination)
            run.remove()
        finally:
            run.close()
    return replace(result, seconds=time.monotonic() - began)


def _check_sizes(settings: DistillSettings, teacher: Teacher, start: Start) -> None:
    ours, theirs = (int(m.config.hidden_size) for m in (start.model, teacher.model))
    if settings.weights.cosine > 0 and ours != theirs:
        raise UserError(
            f"hidden states of {ours} and {theirs} numbers have no angle between them",
            why="the cosine term compares the student's last hidden states with the teacher's",
            todo="leave it out with --alpha-cos 0, or take a student as wide as the teacher",
        )


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Lesson:
    """All that the steps of a general distillation share."""

    settings: DistillSettings
    training: FineTuneSettings
    teacher: Teacher
    start: Start

    def rows(self, texts: Sequence[str], epoch: int) -> MaskedTexts:
        return MaskedTexts(
            texts,
            self.start.tokenizer,
            max_length=self.training.max_length,
            seed=self.training.seed,
            epoch=epoch,
        )

    @property
    def _collate(self) -> PadMasked:
        return PadMasked(padding_of(self.start, self.training))

    @property
    def _loss(self) -> LanguageLoss:
        return LanguageLoss(self.settings, self.teacher.model)

    def objective(self, rows: MaskedTexts, held_out: MaskedTexts) -> Objective:
        return Objective(
            start=self.start,
            module=self.start.model,
            datasets={"train": rows, "validation": held_out},
            collate=self._collate,
            loss=self._loss,
            count=count_tokens,
            lengths=rows.lengths,
            fingerprint={"distillation": self._described()},
        )

    def score(self, module: torch.nn.Module, held_out: MaskedTexts) -> Score:
        return score(module, held_out, self._collate, self._loss)

    def figures(self, module: torch.nn.Module, held_out: MaskedTexts) -> dict[str, float]:
        """What the trainer ranks epochs by."""
        found = self.score(module, held_out)
        weights = self.settings.weights
        if not weights.soft and not weights.masked:
            return {"loss": found.loss}  # nothing teaches it words, so the loss ranks
        return {"loss": found.loss, METRIC: found.masked_accuracy}

    def _described(self) -> dict[str, Any]:
        return {
            "kind": "general",
            "teacher": self.teacher.describe(),
            "student": self.settings.student,
            "layers": taken_layers(self.settings, self.teacher),
            "temperature": self.settings.temperature,
            "weights": asdict(self.settings.weights),
            "soft_positions": self.settings.soft_positions,
        }

    def conclude(
        self,
        history: History,
        held_out: MaskedTexts,
        before: Score,
        data: dict[str, Any],
        destination: Path,
    ) -> Taught:
        """Compare, and write the folder, training.json last."""
        student, teacher = self.start.model, self.teacher.model.to("cpu")
        after = self.score(student, held_out)
        told = None
        if self.settings.weights.soft > 0:
            told = masked_accuracy(teacher, held_out, self._collate)
        ids = [held_out[i]["input_ids"] for i in range(len(held_out))]
        times = milliseconds((teacher, student.eval()), ids)
        sizes: dict[str, dict[str, float]] = {
            who: {
                "parameters": model.num_parameters(),
                "bytes": weight_bytes(model),
                "ms_per_text": ms,
            }
            for who, model, ms in zip(
                ("teacher", "student"), (teacher, student), times, strict=True
            )
        }
        figures = {"loss": after.loss, METRIC: after.masked_accuracy, **after.terms}
        record = self._record(history, data, figures, sizes["student"])
        said = {
            **self._described(),
            "validation_before": asdict(before),
            "validation_after": asdict(after),
            "teacher_masked_accuracy": told,
            "sizes": sizes,
        }
        record = replace(record, extra={"distillation": said})
        spec = describe_tokenizer(self.start.tokenizer, self.training.max_length, self.start.family)
        with staging_folder(destination) as staging:
            student.save_pretrained(staging)
            write_tokenizer(self.start.tokenizer, spec, staging)
            write_record(record, staging)
            publish_folder(staging, destination, is_ours=is_run)
        return Taught(destination, record, before, after, told, sizes, 0.0)

    def _record(
        self,
        history: History,
        data: dict[str, Any],
        figures: dict[str, float],
        size: dict[str, float],
    ) -> TrainingRecord:
        training = self.training
        return TrainingRecord(
            model=self.start.name,
            revision=self.start.revision,
            family=self.start.family.name,
            data=data,
            settings=training.what_decides(),
            tuning="whole",
            epochs=tuple(history.epochs),
            best_epoch=history.best,
            stopped_early=history.stopped_early,
            steps=tuple(history.steps),
            metric_name=METRIC,
            thresholds=None,
            evaluation={},
            validation=figures,
            test={},
            baselines=(),
            transformer=TransformerCost(
                training_seconds=sum(epoch.seconds for epoch in history.epochs),
                prediction_ms_per_text=size["ms_per_text"],
                bytes=int(size["bytes"]),
                parameters=int(size["parameters"]),
            ),
            class_weights=None,
            resumed_from_steps=tuple(history.resumed_from),
            processes=world().size,
            precision=resolve_precision(training.precision),
            compiled=training.compile,
            device=device_name(),
            padding={"mode": "grouped" if training.effective.group_by_length else "random"},
            versions=versions(),
            seed=training.seed,
        )
