"""Task distillation: a fine-tuned teacher's answers and the labels teach a smaller classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.data.duplicates import text_key
from export.data.task import TextDataset
from export.settings import FineTuneSettings
from export.training.distill.compare import Comparison, agreement, milliseconds, weight_bytes
from export.training.distill.hyperparameters import suitable
from export.training.distill.settings import DistillSettings
from export.training.distill.start import classifier_student, taken_layers
from export.training.distill.taught import TaughtLoss, TaughtRows, count_rows
from export.training.distill.teacher import (
    Teacher,
    label_order,
    load_teaching_classifier,
    teacher_logits,
)
from export.training.features import Features
from export.training.finetune import FineTuned, assist, fine_tune
from export.training.metrics import main_metric, metrics_of_logits
from export.training.objective import Objective, features_of, padding_of, task_loss
from export.training.predict import predict
from export.training.processes import world
from runtime.console import note

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Distilled:
    """A finished task distillation.

    Attributes:
        run: what fine-tuning gives; its checkpoint is exported like any other.
        comparison: with the teacher on the test split.
        unlabelled: texts that were used without a label.
    """

    run: FineTuned
    comparison: Comparison
    unlabelled: int


def distill_task(
    dataset: TextDataset,
    unlabelled: Sequence[str],
    settings: DistillSettings,
    destination: Path,
    cache: Path,
) -> Distilled | None:
    """Train a student on the teacher's answers and write its checkpoint, like `fine_tune`.

    Args:
        dataset: with labels; the teacher's may be more and in another order.
        unlabelled: further texts; those of the dataset are left out.
        settings: teacher, student, weights of the terms.
        destination: the checkpoint's folder; replaced as a whole once training is done.
        cache: folder of the teacher's answers, so that it is asked once per text.

    Returns:
        What came of it; None in all processes but the first, where several train.

    Raises:
        UserError: teacher, student and data do not fit together, or training cannot go on.
    """
    training = settings.training
    teacher = load_teaching_classifier(settings.teacher, training.max_length)
    labels, columns = label_order(teacher.checkpoint, dataset)
    more = labels[len(dataset.labels) :]
    if more:
        note(f"  the teacher also knows {', '.join(more)}; so will the student")
        dataset = replace(dataset, labels=labels)
    texts = _new_texts(dataset, unlabelled)
    chosen = training.hyperparameters or suitable(settings, teacher.model.config)
    training = replace(training, model=settings.student, hyperparameters=chosen)
    lesson = _Lesson(settings, teacher, tuple(columns), texts, cache)
    compared: list[Comparison] = []

    def prepare(data: TextDataset, tuning: FineTuneSettings, folder: Path) -> Objective:
        del folder
        return lesson.objective(data, tuning, compared)

    if not world().leads:
        assist(dataset, training, destination, prepare=prepare)
        return None
    run = fine_tune(dataset, training, destination, prepare=prepare)
    return Distilled(run, compared[-1], len(texts))


def _new_texts(dataset: TextDataset, unlabelled: Sequence[str]) -> tuple[str, ...]:
    """Texts that stand in no split: those of validation and test would make their figures rosy."""
    seen = {text_key(row.text) for rows in dataset.splits.values() for row in rows}
    fresh: dict[str, str] = {}
    for text in unlabelled:
        key = text_key(text)
        if key not in seen:
            fresh.setdefault(key, text)
    if unlabelled:
        left_out = len(unlabelled) - len(fresh)
        said = f", {left_out} left out: they stand in the data, or twice" if left_out else ""
        note(f"  {len(fresh)} texts without labels{said}")
    return tuple(fresh.values())


@dataclass(frozen=True, slots=True)
class _Lesson:
    """All that makes the objective."""

    settings: DistillSettings
    teacher: Teacher
    columns: tuple[int, ...]
    texts: tuple[str, ...]
    cache: Path

    def objective(
        self, dataset: TextDataset, training: FineTuneSettings, compared: list[Comparison]
    ) -> Objective:
        student = classifier_student(self.settings, self.teacher, dataset, self.columns)
        splits = features_of(dataset, training, student)
        extra = student.tokenizer.encode_batch(list(self.texts))
        ids = [splits["train"][i]["input_ids"] for i in range(len(splits["train"]))]
        ids += [encoding.ids for encoding in extra]
        answers = self._ask(ids)
        rows = TaughtRows(splits["train"], ids, answers)
        loss = task_loss(dataset, training)
        collate = padding_of(student, training)

        def record() -> dict[str, Any]:
            logits = predict(student.model, splits["test"], collate)
            comparison = self._compare(student.model, dataset, splits["test"], logits)
            compared.append(comparison)
            return {"distillation": self._record(comparison)}

        return Objective(
            start=student,
            module=student.model,
            datasets={**splits, "train": rows},
            collate=collate,
            loss=TaughtLoss(loss, self.settings.alpha, self.settings.temperature),
            count=count_rows,
            lengths=rows.lengths,
            class_weights=loss.weights,
            fingerprint={"distillation": self._fingerprint(answers)},
            record=record,
        )

    def _ask(self, ids: list[list[int]]) -> Floats:
        """The teacher's logits in the order of the student's labels."""
        return teacher_logits(self.teacher, ids, self.cache)[:, list(self.columns)]

    def _fingerprint(self, answers: Floats) -> dict[str, Any]:
        return {
            "kind": "task",
            "teacher_sha256": self.teacher.sha256,
            "answers_sha256": hashlib.sha256(answers.tobytes()).hexdigest(),
            "layers": taken_layers(self.settings, self.teacher),
            "temperature": self.settings.temperature,
            "alpha": self.settings.alpha,
        }

    def _record(self, comparison: Comparison) -> dict[str, Any]:
        return {
            "kind": "task",
            "teacher": self.teacher.describe(),
            "student": self.settings.student,
            "layers": taken_layers(self.settings, self.teacher),
            "temperature": self.settings.temperature,
            "weights": {"soft": self.settings.alpha, "hard": 1.0 - self.settings.alpha},
            "unlabelled_texts": len(self.texts),
            "comparison": comparison.to_json(),
        }

    def _compare(
        self, student: Any, dataset: TextDataset, test: Features, logits: Floats
    ) -> Comparison:
        ids = [test[i]["input_ids"] for i in range(len(test))]
        targets = np.array([test[i]["labels"] for i in range(len(test))], dtype=np.float32)
        answers = self._ask(ids)
        name = main_metric(multi_label=dataset.is_multi_label)
        scores = [
            metrics_of_logits(values, targets, multi_label=dataset.is_multi_label)[name]
            for values in (answers, logits)
        ]
        device = next(student.parameters()).device
        both = (self.teacher.model, student.to("cpu").eval())
        times = milliseconds(both, ids)
        student.to(device)
        return Comparison(
            split="test",
            texts=len(ids),
            metric=name,
            teacher=scores[0],
            student=scores[1],
            agreement=agreement(answers, logits, multi_label=dataset.is_multi_label),
            teacher_parameters=both[0].num_parameters(),
            student_parameters=both[1].num_parameters(),
            teacher_bytes=weight_bytes(both[0]),
            student_bytes=weight_bytes(both[1]),
            teacher_ms=times[0],
            student_ms=times[1],
        )
