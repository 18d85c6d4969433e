"""What training makes small: cross-entropy for one label per text, binary for any number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from export.training.features import IGNORED


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """The loss of a classification task.

    It is a sum over targets divided by a count that the caller may give. So the parts of a step
    that was cut into several passes or processes add up to the loss of the whole step, the last
    and shorter ones included. Class weights do not enter the count: a balanced weight is 1 on
    average.

    Attributes:
        multi_label: binary cross-entropy per label instead of cross-entropy.
        weights: single-label: weight of each class. Multi-label: weight of each label's positives
            (torch's ``pos_weight``). None: all 1.
        smoothing: single-label: share of the target spread evenly over all classes.
    """

    multi_label: bool
    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0

    def __call__(
        self, logits: torch.Tensor, labels: torch.Tensor, items: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: [batch, labels]; they are taken to float32 first.
            labels: int [batch], or 0/1 [batch, labels]; -100 is left out.
            items: targets to divide by; None takes the batch's own `count`.

        Returns:
            A scalar, float32.
        """
        z = logits.float()
        weights = None if self.weights is None else z.new_tensor(self.weights)
        if self.multi_label:
            each = functional.binary_cross_entropy_with_logits(
                z, labels.clamp(min=0.0).to(z.dtype), pos_weight=weights, reduction="none"
            )
            total = torch.where(labels == IGNORED, torch.zeros_like(each), each).sum()
        else:
            total = functional.cross_entropy(
                z,
                labels,
                weight=weights,
                label_smoothing=self.smoothing,
                reduction="sum",
                ignore_index=IGNORED,
            )
        return total / (count(labels) if items is None else items).clamp(min=1)


def count(labels: torch.Tensor) -> torch.Tensor:
    """How many targets there are: texts, or pairs of a text and a label. A scalar, int64."""
    return labels.ne(IGNORED).sum()
