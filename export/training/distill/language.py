"""The loss of general distillation: soft targets, masked words and hidden states, in one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from export.training.distill.masking import MaskedTexts
from export.training.distill.settings import DistillSettings
from export.training.distill.terms import hidden_directions, masked_tokens, soft_targets
from export.training.features import IGNORED
from export.training.objective import Inputs, LossResult
from export.training.predict import Collate

# Texts at a time where nothing is learned.
_BATCH = 32


def count_tokens(inputs: Inputs) -> torch.Tensor:
    """Hidden tokens and all tokens, int64 [2]: what the terms are averaged over."""
    real = inputs["attention_mask"].bool()
    return torch.stack([(inputs["labels"] != IGNORED).sum(), real.sum()])


@dataclass(frozen=True, slots=True)
class LanguageLoss:
    """soft · T² KL + masked · cross-entropy + cosine · (1 - cos), each with its weight.

    Attributes:
        settings: temperature, weights, and where the soft targets are compared.
        teacher: a masked language model, not trained.
    """

    settings: DistillSettings
    teacher: Any

    def __call__(self, model: torch.nn.Module, inputs: Inputs, items: torch.Tensor) -> LossResult:
        """See `Loss`; items: of `count_tokens`."""
        parts, _ = self.parts(model, inputs, items)
        weights = self.settings.weights
        scaled = {
            name: getattr(weights, name) * value
            for name, value in parts.items()
            if getattr(weights, name) > 0
        }
        total = torch.stack(list(scaled.values())).sum()
        shown = {name: parts[name].detach() for name in scaled}
        return LossResult(total, shown)

    def parts(
        self, model: torch.nn.Module, inputs: Inputs, items: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The three terms without their weights, and how many hidden words were guessed.

        A term that is left out is not computed, and is absent; masked words always are there.
        """
        weights, temperature = self.settings.weights, self.settings.temperature
        labels, mask = inputs.pop("labels"), inputs["attention_mask"]
        hidden, real = labels != IGNORED, mask.bool()
        wants_states = weights.cosine > 0
        ours = model(**inputs, output_hidden_states=wants_states)
        logits = ours["logits"].float()
        parts = {"masked": masked_tokens(logits[hidden], labels[hidden]) * _share(hidden, items[0])}
        if weights.soft > 0 or wants_states:
            teacher = self.teacher.to(logits.device)
            with torch.no_grad():
                theirs = teacher(
                    input_ids=inputs["input_ids"],
                    attention_mask=mask,
                    output_hidden_states=wants_states,
                )
        if weights.soft > 0:
            at, which = (hidden, 0) if self.settings.soft_positions == "masked" else (real, 1)
            soft = soft_targets(logits[at], theirs["logits"].float()[at], temperature)
            parts["soft"] = soft * _share(at, items[which])
        if wants_states:
            states = (out["hidden_states"][-1].float()[real] for out in (ours, theirs))
            parts["cosine"] = hidden_directions(*states) * _share(real, items[1])
        guessed = (logits[hidden].argmax(dim=-1) == labels[hidden]).sum()
        if not weights.soft and not weights.masked:
            # The head learns nothing; several processes want a gradient for it all the same.
            parts["cosine"] = parts["cosine"] + 0.0 * logits.sum()
        return parts, guessed


def _share(chosen: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Part of the step's tokens that this pass has: turns its mean into its part of the sum."""
    return chosen.sum() / total.clamp(min=1)


@dataclass(frozen=True, slots=True)
class Score:
    """How well a student does on texts that it does not learn from.

    Attributes:
        loss: the weighted sum.
        terms: each that has a weight.
        masked_accuracy: share of hidden words that are its first guess.
    """

    loss: float
    terms: dict[str, float]
    masked_accuracy: float


@torch.no_grad()
def score(
    model: torch.nn.Module, texts: MaskedTexts, collate: Collate, loss: LanguageLoss
) -> Score:
    """Run over all texts in evaluation mode; torch's random state is neither read nor changed."""
    batches = _batches(model, texts, collate)
    items = torch.stack([count_tokens(batch) for batch in batches]).sum(0)
    sums: dict[str, float] = {}
    right = 0
    with _judging(model):
        for batch in batches:
            parts, guessed = loss.parts(model, dict(batch), items)
            right += int(guessed)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
    weights = loss.settings.weights
    terms = {name: value for name, value in sums.items() if getattr(weights, name) > 0}
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return Score(total, terms, right / max(int(items[0]), 1))


@torch.no_grad()
def masked_accuracy(model: torch.nn.Module, texts: MaskedTexts, collate: Collate) -> float:
    """Share of hidden words that are the model's first guess."""
    right = seen = 0
    with _judging(model):
        for batch in _batches(model, texts, collate):
            labels = batch["labels"]
            hidden = labels != IGNORED
            out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            right += int((out["logits"][hidden].argmax(dim=-1) == labels[hidden]).sum())
            seen += int(hidden.sum())
    return right / max(seen, 1)


@contextlib.contextmanager
def _judging(model: torch.nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _batches(model: torch.nn.Module, texts: MaskedTexts, collate: Collate) -> list[Inputs]:
    """Texts of like length together, on the model's device."""
    device = next(model.parameters()).device
    rows: list[dict[str, Any]] = [texts[i] for i in range(len(texts))]
    rows.sort(key=lambda row: -len(row["input_ids"]))
    batches = [collate(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]
    return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
