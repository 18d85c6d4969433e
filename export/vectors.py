"""What an export of sentence vectors does other than an export of a classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from export.checkpoint import Checkpoint, find_checkpoint, load_classifier
from export.embedding_reference import reference_of_vectors
from export.model_choice import Choice, FineTuneMode
from export.pooling import EmbeddingSettings
from export.recipes import Recipe
from export.settings import FineTuneSettings
from runtime.errors import UserError
from runtime.manifest import TaskSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from export.reference import Reference


def task_of(settings: EmbeddingSettings) -> TaskSpec:
    """The manifest's task."""
    activation = "l2" if settings.normalize else "none"
    return TaskSpec("embedding", activation, (), pooling=settings.pooling)  # type: ignore[arg-type]


def choose_encoder(settings: FineTuneSettings, mode: FineTuneMode) -> Choice:
    """Whether MODEL= is fine-tuned before its encoder is exported.

    A checkpoint is taken as it is, with or without a head, unless fine-tuning is asked for: what an
    encoder is good for cannot be told from labels. The small default has to be trained.

    Raises:
        UserError: the checkpoint cannot be read, or there is nothing to export.
    """
    if settings.is_from_scratch and mode == "never":
        raise UserError(
            "there is nothing to export without fine-tuning",
            why=f"{settings.model} starts from random weights",
            todo="name a checkpoint: MODEL=folder",
        )
    if settings.is_from_scratch or mode == "always":
        return Choice(None, f"{settings.model} is fine-tuned first; vectors are its encoder's")
    checkpoint = find_checkpoint(settings.model, settings.revision)
    return Choice(checkpoint, f"the encoder of {checkpoint.name} is exported as it is")


def load_encoder(checkpoint: Checkpoint) -> PreTrainedModel:
    """A model whose encoder is the checkpoint's; its head is none that anyone should use.

    Raises:
        UserError: encoder weights are missing or of the wrong shape.
    """
    # A new head, so that a checkpoint without one will do as well.
    return load_classifier(checkpoint, labels=("nobody reads this",))


def vector_reference(checkpoint: Checkpoint, settings: EmbeddingSettings) -> Reference:
    """The truth that the artifacts are judged by."""
    return reference_of_vectors(load_encoder(checkpoint), settings)


def vector_recipe(recipe: Recipe) -> Recipe:
    """The recipe with its gate for vectors in the place of the one for logits.

    Raises:
        UserError: it has none.
    """
    if not recipe.vector_gate:
        raise UserError(
            f"the recipe {recipe.name} of {recipe.target} has no gate for sentence vectors",
            why="nobody has measured yet how far they may be off",
            todo="leave RECIPE= out: the default ones have one",
        )
    # What was measured for a family's logits says nothing of its vectors.
    return replace(recipe, gate=recipe.vector_gate, observed=recipe.vector_observed, families={})
