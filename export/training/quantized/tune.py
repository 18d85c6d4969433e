"""A few hundred steps in which a fine-tuned classifier gets used to a recipe's rounding."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.data.task import TextDataset
from export.golden_writer import choose_validation
from export.model_choice import labels_of, misfit, relabel
from export.outliers.migrate import migrated
from export.recipes.sizes import CALIBRATION_TEXTS, LARGE_WEIGHT_ELEMENTS
from export.reference import reference_from_model
from export.rounding.model import is_rounded, rounded
from export.settings import FineTuneSettings
from export.training.conclude import targets_of
from export.training.distill.taught import TaughtLoss, TaughtRows, count_rows
from export.training.distill.teacher import Teacher, load_teaching_classifier, teacher_logits
from export.training.features import Features
from export.training.finetune import FineTuned, fine_tune
from export.training.model import Start
from export.training.objective import Objective, features_of, padding_of, task_loss
from export.training.predict import predict
from export.training.processes import world
from export.training.quantized.compare import Comparison, compare
from export.training.quantized.module import FakeQuantized
from export.training.quantized.plan import Plan, plan_of
from export.training.quantized.rounds import Rounds
from export.training.quantized.settings import ENTRY, TuneSettings, suitable
from runtime.console import note, progress_bar, stage
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished tuning.

    Attributes:
        run: what fine-tuning gives; its checkpoint's weights lie on the recipe's grid.
        comparison: before and after, on the test split.
    """

    run: FineTuned
    comparison: Comparison


def tune(dataset: TextDataset, settings: TuneSettings, destination: Path, cache: Path) -> Tuned:
    """Train with a recipe's rounding and write a checkpoint that lies on its grid.

    Args:
        dataset: with the checkpoint's labels, in any order.
        settings: what to tune, and for which recipe.
        destination: the checkpoint's folder; replaced as a whole once training is done.
        cache: folder of the float model's answers, so that it is asked once per text.

    Raises:
        UserError: checkpoint, data and recipe do not fit together, or training cannot go on.
    """
    if world().size > 1:
        raise UserError("tuning for a recipe runs in one process", todo="start it without torchrun")
    training = replace(settings.training, model=settings.model)
    teacher = load_teaching_classifier(settings.model, training.max_length)
    if problem := misfit(teacher.checkpoint, dataset):
        raise UserError(
            f"{teacher.name} cannot be tuned on this data",
            why=problem,
            todo="name the data that it was fine-tuned on",
        )
    if training.hyperparameters is None:
        training = replace(training, hyperparameters=suitable(teacher.model.config.hidden_size))
    settings = replace(settings, training=training)
    dataset = relabel(dataset, labels_of(teacher.checkpoint, dataset))
    dataset = _cut(dataset, settings)
    job = _Job(settings, teacher, plan_of(teacher.model, settings.recipe), cache)
    compared: list[Comparison] = []

    def prepare(data: TextDataset, tuning: FineTuneSettings, folder: Path) -> Objective:
        del folder
        return job.objective(data, tuning, compared)

    run = fine_tune(dataset, training, destination, prepare=prepare)
    return Tuned(run, compared[-1])


def _cut(dataset: TextDataset, settings: TuneSettings) -> TextDataset:
    """No more texts than are used, chosen by their hash."""
    most = settings.round_texts * settings.training.effective.epochs
    limits = {"train": most, "validation": settings.limit, "test": settings.limit}
    splits = {name: choose_validation(rows, limits[name]) for name, rows in dataset.splits.items()}
    for name, rows in splits.items():
        if len(rows) < (whole := len(dataset.splits[name])):
            note(f"  {len(rows):,} of {whole:,} {name} texts are used")
    return replace(dataset, splits=splits)


@dataclass(frozen=True, slots=True)
class _Job:
    """All that makes the objective."""

    settings: TuneSettings
    teacher: Teacher
    plan: Plan
    cache: Path

    def objective(
        self, dataset: TextDataset, training: FineTuneSettings, compared: list[Comparison]
    ) -> Objective:
        teacher = self.teacher
        model = self._starting_model(dataset, training)
        start = Start(
            model, teacher.tokenizer, teacher.name, teacher.checkpoint.revision, teacher.family
        )
        splits = features_of(dataset, training, start)
        ids = [splits["train"][i]["input_ids"] for i in range(len(splits["train"]))]
        answers = teacher_logits(teacher, ids, self.cache)
        rows = Rounds(
            TaughtRows(splits["train"], ids, answers),
            splits["train"].lengths,
            size=self.settings.round_texts,
            rounds=training.effective.epochs,
            seed=training.seed,
        )
        untuned = copy.deepcopy(model)
        module = FakeQuantized(model, self.plan)
        collate = padding_of(start, training)
        loss = task_loss(dataset, training)

        def finish() -> None:
            module.settle()
            # What is saved is the checkpoint, and it is scored as one.
            module.rounds_inputs = False

        def record() -> dict[str, Any]:
            found = self._compare(untuned, module, splits["test"], collate, training.seed)
            compared.append(found)
            return {ENTRY: self._record(found)}

        return Objective(
            start=start,
            module=module,
            datasets={**splits, "train": rows},
            collate=collate,
            loss=TaughtLoss(loss, self.settings.alpha, self.settings.temperature),
            count=count_rows,
            lengths=rows.lengths,
            class_weights=loss.weights,
            fingerprint={ENTRY: self._fingerprint(answers)},
            finish=finish,
            record=record,
        )

    def _starting_model(self, dataset: TextDataset, training: FineTuneSettings) -> PreTrainedModel:
        """A copy to train, as the export would round it.

        Outliers are folded into weights where the recipe wants that; what it would divide is not
        divided: the model learns to do without.
        """
        recipe = self.settings.recipe
        reference = reference_from_model(copy.deepcopy(self.teacher.model))
        tokenizer = self.teacher.tokenizer
        tokenizer.enable_truncation(max_length=training.max_length)
        texts = choose_validation(dataset.splits["train"], CALIBRATION_TEXTS)
        seen = [tokenizer.encode(example.text).ids for example in texts]
        if recipe.outliers != "keep":
            reference = migrated(reference, seen, divide=False).reference
        if is_rounded(recipe):
            with stage("rounding weights as the export would"), progress_bar("rounding") as show:
                reference = rounded(
                    reference,
                    recipe,
                    seen,
                    {},
                    smallest=LARGE_WEIGHT_ELEMENTS,
                    transposed=next(iter(self.plan.transposed), ""),
                    progress=show,
                )
        started: PreTrainedModel = reference.module.model
        return started.requires_grad_(requires_grad=True)

    def _compare(
        self,
        untuned: PreTrainedModel,
        module: FakeQuantized,
        rows: Features,
        collate: Any,
        seed: int,
    ) -> Comparison:
        settled = predict(module, rows, collate)
        module.rounds_inputs = True
        tuned = predict(module, rows, collate)
        module.rounds_inputs = False
        return compare(
            "test",
            targets_of(rows),
            before=predict(self.teacher.model, rows, collate),
            rounded=predict(FakeQuantized(untuned, self.plan), rows, collate),
            tuned=tuned,
            settled=settled,
            multi_label=self.teacher.checkpoint.is_multi_label,
            seed=seed,
        )

    def _fingerprint(self, answers: Floats) -> dict[str, Any]:
        return self._lesson() | {
            "teacher_sha256": self.teacher.sha256,
            "answers_sha256": hashlib.sha256(answers.tobytes()).hexdigest(),
        }

    def _lesson(self) -> dict[str, Any]:
        recipe = self.settings.recipe
        return {
            "target": recipe.target,
            "recipe": recipe.name,
            "recipe_version": recipe.version,
            "weights": {name: asdict(rule) for name, rule in self.plan.weights.items()},
            "steps": self.settings.steps,
            "temperature": self.settings.temperature,
            "alpha": self.settings.alpha,
        }

    def _record(self, comparison: Comparison) -> dict[str, Any]:
        return self._lesson() | {
            "teacher": self.teacher.describe(),
            "comparison": comparison.to_json(),
        }
