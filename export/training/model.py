"""The model a run starts from, with its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export import checkpoint as checkpoints
from export.data.task import TextDataset
from export.families import Family, families
from export.settings import FineTuneSettings, ModelSize
from export.tokenizer_training import train_tokenizer
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run starts.

    Attributes:
        name: for people and the manifest.
        revision: commit on the hub, None otherwise.
        family: what the model is one of.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    name: str
    revision: str | None
    family: Family


def starting_point(settings: FineTuneSettings, dataset: TextDataset) -> Start:
    """Build the model with a fresh head for the dataset's labels, seeded.

    Raises:
        UserError: the checkpoint is missing or of no known family, or max_length is beyond it.
    """
    import transformers

    transformers.set_seed(settings.seed)
    if settings.new_family is not None:
        return _new(settings, settings.new_family, dataset)
    checkpoint = checkpoints.find_checkpoint(settings.model, settings.revision)
    model = checkpoints.load_classifier(
        checkpoint, labels=dataset.labels, multi_label=dataset.is_multi_label
    )
    limit = checkpoint.family.longest(model.config)
    if limit is not None and settings.max_length > limit:
        raise UserError(
            f"max length {settings.max_length} is beyond {checkpoint.name}",
            why=f"it has positions for {limit} ids",
            todo=f"choose at most {limit}",
        )
    return Start(
        model,
        checkpoints.load_tokenizer(checkpoint),
        checkpoint.name,
        checkpoint.revision,
        checkpoint.family,
    )


def new_model(
    family: Family,
    size: ModelSize,
    texts: Iterable[str],
    labels: tuple[str, ...],
    *,
    max_length: int,
    multi_label: bool = False,
    tokenizer: Tokenizer | None = None,
) -> tuple[PreTrainedModel, Tokenizer]:
    """A classifier with random weights, and a tokenizer of the family's kind made of texts.

    The weights come from torch's global generator: seed it first. A `tokenizer` that is there
    already, such as a teacher's, is taken as it is.
    """
    import transformers

    if tokenizer is None:
        tokenizer = train_tokenizer(family, texts, size.vocab_size, fill=size.fill)
    config = getattr(transformers, family.config_class)(
        **family.sizes(size),
        **_ids_of(tokenizer, family),
        **_positions(family, max(max_length, size.positions), tokenizer),
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
        architectures=[family.classifier],
    )
    return getattr(transformers, family.classifier)(config), tokenizer


def _new(settings: FineTuneSettings, name: str, dataset: TextDataset) -> Start:
    if name not in families():
        raise UserError(
            f"there is no small {name!r}", todo=f"choose one of: {', '.join(families())}"
        )
    family = families()[name]
    model, tokenizer = new_model(
        family,
        settings.size,
        (example.text for example in dataset.splits["train"]),
        dataset.labels,
        max_length=settings.max_length,
        multi_label=dataset.is_multi_label,
    )
    return Start(model, tokenizer, new_name(settings, family), None, family)


def new_name(settings: FineTuneSettings, family: Family) -> str:
    """For people and the manifest, of a model from random weights, such as ``small-distilbert``."""
    return f"{settings.model.split(':')[0]}-{family.name}"


def _ids_of(tokenizer: Tokenizer, family: Family) -> dict[str, Any]:
    """The configuration's ids of special tokens, where it has them."""
    special = family.special
    ids = {"pad_token_id": special.pad, "bos_token_id": special.cls, "eos_token_id": special.sep}
    return {name: tokenizer.token_to_id(token) for name, token in ids.items()}


def _positions(family: Family, ids: int, tokenizer: Tokenizer) -> dict[str, int]:
    """Room for exactly so many ids, where the family has a table of positions."""
    if not family.has_positions:
        return {}
    pad_id = tokenizer.token_to_id(family.special.pad) or 0
    return {"max_position_embeddings": ids + family.unused_positions(pad_id)}
