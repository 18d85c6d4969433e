"""The terms of the distillation losses: each a scalar that is 0 when student and teacher agree."""

from __future__ import annotations

import torch
from torch.nn import functional


def soft_targets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    r"""T² · KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over rows.

    The factor T² keeps the gradients' size when T changes (Hinton et al., arXiv 1503.02531,
    section 2). KL differs from the soft cross-entropy by the teacher's entropy, which has no
    gradient, and is 0 at the goal.

    Args:
        student: logits, float [rows, classes].
        teacher: logits of the same shape, without a gradient.
        temperature: T > 0.

    Returns:
        A scalar; 0 for no rows.
    """
    if not len(student):
        return student.sum() * 0.0
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def soft_decisions(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The same for labels that are independent of each other: one Bernoulli per label.

    T² · KL of sigmoid(teacher / T) from sigmoid(student / T), averaged over rows and labels, as
    binary cross-entropy is; less the teacher's entropy, which has no gradient.

    Args:
        student: logits, float [rows, labels].
        teacher: logits of the same shape, without a gradient.
        temperature: T > 0.

    Returns:
        A scalar; 0 for no rows.
    """
    if not len(student):
        return student.sum() * 0.0
    scaled, goal = student / temperature, teacher / temperature
    target = goal.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(scaled, target)
    entropy = functional.binary_cross_entropy_with_logits(goal, target)
    return (cross - entropy) * temperature**2


def masked_tokens(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the hidden tokens (BERT's masked language modelling).

    Args:
        logits: float [rows, vocabulary], of the masked positions only.
        tokens: the true ids, int64 [rows].

    Returns:
        The mean; 0 for no rows, where torch's own mean is NaN.
    """
    if not len(logits):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, tokens)


def hidden_directions(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - cos of hidden states (torch's ``CosineEmbeddingLoss`` with target 1), averaged.

    Args:
        student: last hidden states, float [tokens, dim], padding left out.
        teacher: the same shape, without a gradient.

    Returns:
        A scalar; 0 for no tokens.
    """
    if not len(student):
        return student.sum() * 0.0
    return (1.0 - functional.cosine_similarity(student, teacher, dim=-1)).mean()
