"""The student that a distillation starts with, its head fit for the task, its tokenizer checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import transformers

from export.checkpoint import find_checkpoint, load_tokenizer
from export.data.task import TextDataset
from export.families import Family, families, family_of_model
from export.settings import SMALL, FineTuneSettings
from export.training.distill.layers import check_layers, spread_layers
from export.training.distill.same_tokenizer import require_same_tokenizer
from export.training.distill.settings import SAME_FAMILY, DistillSettings
from export.training.distill.student import distilbert_from_bert, shallow_copy
from export.training.distill.teacher import Teacher, load_masked_lm
from export.training.model import Start, new_model, new_name, starting_point
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def taken_layers(settings: DistillSettings, teacher: Teacher) -> list[int] | None:
    """The teacher's layers that a student taken from it gets; None for any other student.

    Raises:
        UserError: the user's choice does not fit the teacher.
    """
    if not settings.is_from_teacher:
        return None
    depth = int(teacher.model.config.num_hidden_layers)
    if settings.layers is None:
        return list(spread_layers(depth))
    return list(check_layers(settings.layers, depth))


def classifier_student(
    settings: DistillSettings, teacher: Teacher, dataset: TextDataset, columns: Sequence[int]
) -> Start:
    """A classifier for the dataset's labels, seeded.

    Args:
        settings: which student.
        teacher: a classifier.
        dataset: its labels are the student's.
        columns: where the teacher's logits have these labels, see `label_order`.

    Raises:
        UserError: it cannot be had or taken from this teacher, or has another tokenizer.
    """
    transformers.set_seed(settings.training.seed)
    if settings.is_from_teacher:
        model = _taken(settings, teacher)
        family = family_of_model(model)
        if family.name == teacher.family.name:
            _reorder(model, family, columns)
        model.config.id2label = dict(enumerate(dataset.labels))
        model.config.label2id = {label: i for i, label in enumerate(dataset.labels)}
        model.config.architectures = [family.classifier]
        kind = "multi" if dataset.is_multi_label else "single"
        model.config.problem_type = f"{kind}_label_classification"
        return Start(model, teacher.tokenizer, _name(settings, teacher), None, family)
    training = replace(settings.training, model=settings.student)
    if training.is_from_scratch:
        family = _new_family(settings.student, training, teacher)
        model, tokenizer = new_model(
            family,
            training.size,
            (),
            dataset.labels,
            max_length=training.max_length,
            multi_label=dataset.is_multi_label,
            tokenizer=teacher.tokenizer,
        )
        return Start(model, tokenizer, new_name(training, family), None, family)
    start = starting_point(training, dataset)
    require_same_tokenizer(teacher.tokenizer, start.tokenizer, _texts(dataset))
    return start


def language_student(settings: DistillSettings, teacher: Teacher, texts: Sequence[str]) -> Start:
    """A masked language model, seeded.

    Args:
        settings: which student.
        teacher: a masked language model.
        texts: some, to compare the tokenizers with.

    Raises:
        UserError: it cannot be had or taken from this teacher, or has another tokenizer.
    """
    transformers.set_seed(settings.training.seed)
    if settings.is_from_teacher:
        model = _taken(settings, teacher)
        family = family_of_model(model)
        model.config.architectures = [family.masked_lm]
        return Start(model, teacher.tokenizer, _name(settings, teacher), None, family)
    training = replace(settings.training, model=settings.student)
    if training.is_from_scratch:
        family = _new_family(settings.student, training, teacher)
        if not family.masked_lm:
            raise UserError(
                f"a small {family.title} cannot take part in general distillation",
                why="its family was not trained by masking",
                todo="distil for a task instead: --kind task",
            )
        classifier, tokenizer = new_model(
            family,
            training.size,
            (),
            ("LABEL_0", "LABEL_1"),
            max_length=training.max_length,
            tokenizer=teacher.tokenizer,
        )
        config = classifier.config
        config.architectures = [family.masked_lm]
        config.problem_type = None
        transformers.set_seed(settings.training.seed)
        model = getattr(transformers, family.masked_lm)(config)
        return Start(model, tokenizer, new_name(training, family), None, family)
    checkpoint = find_checkpoint(settings.student)
    tokenizer = load_tokenizer(checkpoint)
    require_same_tokenizer(teacher.tokenizer, tokenizer, texts)
    # A head that is missing is made anew: it learns, or nothing is said with it.
    model = load_masked_lm(checkpoint, needs_head=False)
    return Start(model, tokenizer, checkpoint.name, checkpoint.revision, checkpoint.family)


def _taken(settings: DistillSettings, teacher: Teacher) -> PreTrainedModel:
    layers = taken_layers(settings, teacher) or []
    if teacher.family.name == "bert" and settings.student != SAME_FAMILY:
        model = distilbert_from_bert(teacher.model, layers)
    else:
        model = shallow_copy(teacher.model, layers)
    model.requires_grad_(True)
    return model


def _name(settings: DistillSettings, teacher: Teacher) -> str:
    layers = taken_layers(settings, teacher) or []
    return f"{teacher.name}, layers {','.join(map(str, layers))}"


def _new_family(asked: str, training: FineTuneSettings, teacher: Teacher) -> Family:
    """DistilBERT for ``small`` if the teacher's tokenizer suits it, else the teacher's family."""
    known = families()
    name = training.new_family or ""
    if name not in known:
        raise UserError(f"there is no small {name!r}", todo=f"choose one of: {', '.join(known)}")
    family = known[name]
    if set(family.tokenizers) & set(teacher.family.tokenizers):
        if family.special == teacher.family.special:
            return family
    elif asked == SMALL:
        return teacher.family
    raise UserError(
        f"a {family.title} cannot read the tokens of {teacher.name}",
        why=f"a {teacher.family.title} cuts texts with {' or '.join(teacher.family.tokenizers)}",
        todo=f"choose --student small:{teacher.family.name}",
    )


def _reorder(model: PreTrainedModel, family: Family, columns: Sequence[int]) -> None:
    """Put the outputs of the copied head into the order of the student's labels."""
    if list(columns) == list(range(model.config.num_labels)):
        return
    last = model.get_submodule(family.last_layer)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[list(columns)].clone())


def _texts(dataset: TextDataset) -> list[str]:
    return [example.text for example in dataset.splits["train"]]
