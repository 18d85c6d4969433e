"""Heads only: the encoder stays as it is, each text goes through it once, the head learns.

A frozen encoder without dropout gives a text the same vector in every epoch. So the vectors are
computed once, kept on disk, and an epoch of the head is a few matrix products.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.data.task import TextDataset
from export.families import family_of_model
from export.settings import FineTuneSettings
from export.training.embeddings import encoder_sha256, vectors_once
from export.training.features import Features
from export.training.model import Start, starting_point
from export.training.objective import ClassifierLoss, Objective, features_of, task_loss
from export.training.vector_cache import Vectors
from runtime.console import note, progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Beside the checkpoints, so that runs with other heads or settings find them.
CACHE = "embeddings"


class HeadOnly(torch.nn.Module):
    """A classifier's head as a module of its own, on the classifier's very parameters.

    It holds what comes after the encoder and, where the family keeps a part of the head inside the
    encoder (BERT's pooler), that part. So training it trains the classifier, and its state dict
    holds nothing else.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Take a classifier's head; the classifier's other parameters are frozen."""
        super().__init__()
        self._family = family_of_model(model)
        # In a tuple, which hides it from parameters(), state_dict(), train() and to().
        self._whole = (model,)
        encoder = model.base_model
        for name, part in model.named_children():
            if part is not encoder:
                self.add_module(name, part)
        for place in _heads_within(model):
            self.add_module(place.replace(".", "_"), model.get_submodule(place))
        head = self._family.head
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(requires_grad=bool(head.match(name)))

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the family's head reads, float [batch, dim] → ``logits``, float [batch, labels]."""
        return {"logits": self._family.head_of(self._whole[0], features)}


class VectorRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Vectors in the place of ids; targets as in `Features`."""

    def __init__(self, vectors: Vectors, features: Features) -> None:
        self._vectors = torch.from_numpy(vectors)
        self._features = features

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        labels = self._features[index]["labels"]
        return {"features": self._vectors[index % len(self)], "labels": labels}


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows of `VectorRows` → ``features`` float32 [batch, dim] and ``labels``."""
    return {
        "features": torch.stack([row["features"] for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def prepare(dataset: TextDataset, settings: FineTuneSettings, destination: Path) -> Objective:
    """Put every text through the frozen encoder and set its head up for training.

    Args:
        dataset: all splits.
        settings: model and seed; the loss's.
        destination: the checkpoint's folder; the vectors are kept beside it, in `CACHE`.

    Raises:
        UserError: the model cannot be had, or its vectors are not finite.
    """
    start = starting_point(settings, dataset)
    if settings.is_from_scratch:
        note("  the encoder is random and stays so: heads only is meant for a pretrained MODEL=")
    features = features_of(dataset, settings, start)
    began = time.monotonic()
    vectors = head_inputs(start, features, destination.absolute().parent / CACHE)
    loss = task_loss(dataset, settings)
    facts = {
        "texts": sum(len(rows) for rows in vectors.values()),
        "numbers": int(vectors["train"].shape[1]),
        "seconds": time.monotonic() - began,
    }
    return Objective(
        start=start,
        module=HeadOnly(start.model),
        datasets={split: VectorRows(vectors[split], rows) for split, rows in features.items()},
        collate=collate,
        loss=ClassifierLoss(loss),
        class_weights=loss.weights,
        fingerprint={"encoder": encoder_sha256(start.model)},
        record=lambda: {"head_inputs": facts},
    )


def head_inputs(start: Start, features: dict[str, Features], cache: Path) -> dict[str, Vectors]:
    """What the head reads of every text, by split; from the cache where it is there.

    Returns:
        Split → float32 [texts, dim].
    """
    model, family = start.model, start.family
    splits = {
        split: [rows[i]["input_ids"] for i in range(len(rows))] for split, rows in features.items()
    }
    sequences = [ids for rows in splits.values() for ids in rows]
    before = next(model.parameters()).device
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    began = time.monotonic()
    computed: list[int] = []

    def reads(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        computed.append(len(input_ids))
        return family.head_input(model, input_ids, mask)

    try:
        with progress_bar("vectors") as progress:
            found = vectors_once(model, reads, sequences, "head", cache=cache, progress=progress)
    finally:
        model.to(before)
    note(
        f"  {sum(computed):,} of {len(sequences):,} texts went through the frozen encoder in "
        f"{time.monotonic() - began:.1f} s; the others' vectors were there already"
        if sum(computed) < len(sequences)
        else f"  {len(sequences):,} texts went through the frozen encoder in "
        f"{time.monotonic() - began:.1f} s, once and for all epochs"
    )
    ends = np.cumsum([len(rows) for rows in splits.values()])[:-1]
    return dict(zip(splits, np.split(found, ends), strict=True))


def _heads_within(model: PreTrainedModel) -> list[str]:
    """Modules of the encoder that belong to the head, such as ``bert.pooler``."""
    family = family_of_model(model)
    inside = f"{family.root}."
    places = set()
    for name, _ in model.named_parameters():
        match = family.head.match(name)
        if match and name.startswith(inside):
            places.add(match[0].rstrip("."))
    return sorted(places)
