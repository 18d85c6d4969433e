"""Trace one text: run the model so that it shows what it does on the way."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from export.checkpoint import Checkpoint, load_classifier, load_tokenizer
from export.families import family_of_model
from export.reference import Reference, reference_from_model, reference_logits
from export.settings import DEFAULT_MAX_LENGTH
from export.tokenizers import TOKENIZER_CONFIG
from export.tracing.attention import looked_at, rollout
from export.tracing.document import Floats, LabelStep, TextTrace
from export.tracing.recorder import record
from export.tracing.task import task_of
from export.tracing.tokens import tokenized
from runtime.decisions import decisions, probabilities
from runtime.errors import UserError
from runtime.manifest import TaskSpec

# The pass that shows its attention computes in another order than the reference. Beyond this
# distance, in the size of the logits, it would explain another answer than the one given.
_AGREEMENT = 1e-3


def trace_text(checkpoint: Checkpoint, text: str, *, max_length: int | None = None) -> TextTrace:
    """Follow a text through a classifier of any family.

    Args:
        checkpoint: with a classification head.
        text: any string, the empty one too.
        max_length: longest sequence in ids; by default what the checkpoint was trained with.

    Raises:
        UserError: the checkpoint has no head or cannot be read, or the length is beyond it.
    """
    model = load_classifier(checkpoint)
    reference = reference_from_model(model)
    longest = _max_length(checkpoint, reference, max_length)
    found = tokenized(load_tokenizer(checkpoint), text, longest)
    logits = reference_logits(reference, [found.ids])[0]
    family = reference.family
    position = family.pooled_position % len(found.ids)

    # Fused attention keeps its weights to itself.
    model.set_attn_implementation("eager")
    ids = torch.tensor([found.ids], dtype=torch.int32)
    inputs = family.inputs(model, ids, torch.ones_like(ids))

    def forward(**more: bool) -> Any:
        with torch.inference_mode():
            return model(**inputs, return_dict=True, **more)

    out = forward(output_attentions=True)
    attention: Floats = torch.cat(list(out.attentions)).float().numpy()
    recording = record(model, forward, len(attention))
    with torch.inference_mode():
        pooled = family.head_input(model, ids, torch.ones_like(ids))[0].numpy()
    task = task_of(checkpoint)
    return TextTrace(
        model=checkpoint.name,
        family=family_of_model(model).title,
        parameters=sum(p.numel() for p in model.parameters()),
        text=found.text,
        normalised=found.normalised,
        words=found.words,
        tokens=found.tokens,
        left_out=found.left_out,
        max_length=longest,
        pooled_position=position,
        stages=recording.stages,
        attention=attention,
        looked_at=looked_at(attention, position),
        rollout=rollout(attention, position),
        pooled=pooled,
        head_vector=recording.head_vector,
        logits=logits,
        eager_difference=_difference(out.logits[0].numpy(), logits),
        task=task,
        labels=_labels(logits, task),
    )


def _max_length(checkpoint: Checkpoint, reference: Reference, wanted: int | None) -> int:
    limit = reference.max_positions
    if wanted is None:
        return min(limit, _trained_length(checkpoint) or DEFAULT_MAX_LENGTH)
    if not 3 <= wanted <= limit:
        raise UserError(
            f"max length {wanted} does not suit {checkpoint.name}",
            todo=f"choose 3 to {limit}",
        )
    return wanted


def _trained_length(checkpoint: Checkpoint) -> int | None:
    """``model_max_length`` of the tokenizer's settings, if it is there and plausible."""
    try:
        value = json.loads((checkpoint.path / TOKENIZER_CONFIG).read_bytes())["model_max_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # transformers writes 1e30 where it knows none.
    return value if isinstance(value, int) and 3 <= value <= 1 << 20 else None


def _difference(eager: Floats, logits: Floats) -> float:
    difference = float(np.abs(eager - logits).max())
    if not difference <= _AGREEMENT * max(1.0, float(np.abs(logits).max())):
        raise UserError(
            "the model gives other logits when it shows its attention",
            why=f"they differ by {difference:.3g}, so that the trace would explain another answer",
        )
    return difference


def _labels(logits: Floats, task: TaskSpec) -> tuple[LabelStep, ...]:
    shares = probabilities(logits[None], task)[0]
    given = decisions(logits[None], task)[0]
    return tuple(
        LabelStep(
            name=name,
            logit=float(logits[i]),
            probability=float(shares[i]),
            threshold=task.thresholds[i] if task.thresholds else None,
            given=bool(given[i]),
        )
        for i, name in enumerate(task.labels)
    )
