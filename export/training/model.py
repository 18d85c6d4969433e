"""The model a run starts from, with its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export import checkpoint as checkpoints
from export.data.task import TextDataset
from export.settings import SMALL, FineTuneSettings
from export.tokenizers import train_wordpiece
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
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    name: str
    revision: str | None


def starting_point(settings: FineTuneSettings, dataset: TextDataset) -> Start:
    """Build the model with a fresh head for the dataset's labels, seeded.

    Raises:
        UserError: the checkpoint is missing or not a DistilBERT, or max_length is beyond it.
    """
    import transformers

    transformers.set_seed(settings.seed)
    if settings.model == SMALL:
        return _small(settings, dataset)
    checkpoint = checkpoints.find_checkpoint(settings.model, settings.revision)
    model = checkpoints.load_classifier(
        checkpoint, labels=dataset.labels, multi_label=dataset.is_multi_label
    )
    limit = model.config.max_position_embeddings
    if settings.max_length > limit:
        raise UserError(
            f"max length {settings.max_length} is beyond {checkpoint.name}",
            why=f"it has positions for {limit} ids",
            todo=f"choose at most {limit}",
        )
    return Start(
        model, checkpoints.load_tokenizer(checkpoint), checkpoint.name, checkpoint.revision
    )


def _small(settings: FineTuneSettings, dataset: TextDataset) -> Start:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    size = settings.small
    tokenizer = train_wordpiece((e.text for e in dataset.splits["train"]), size.vocab_size)
    config = DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        max_position_embeddings=settings.max_length,
        dim=size.dim,
        n_layers=size.layers,
        n_heads=size.heads,
        hidden_dim=size.hidden_dim,
        dropout=size.dropout,
        attention_dropout=size.dropout,
        seq_classif_dropout=size.dropout,
        initializer_range=size.initializer_range,
        pad_token_id=tokenizer.token_to_id("[PAD]"),
        id2label=dict(enumerate(dataset.labels)),
        label2id={label: i for i, label in enumerate(dataset.labels)},
        problem_type=(
            "multi_label_classification"
            if dataset.is_multi_label
            else "single_label_classification"
        ),
        architectures=[checkpoints.CLASSIFIER],
    )
    return Start(DistilBertForSequenceClassification(config), tokenizer, "small-distilbert", None)
