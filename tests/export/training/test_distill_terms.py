from __future__ import annotations

import math

import pytest
import torch

from export.training.distill.terms import (
    hidden_directions,
    masked_tokens,
    soft_decisions,
    soft_targets,
)


def test_soft_targets_by_hand() -> None:
    """Two classes, T = 2: KL and its gradient worked out with plain arithmetic."""
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 3.0]])
    loss = soft_targets(student, teacher, 2.0)

    def softmax(a: float, b: float) -> tuple[float, float]:
        total = math.exp(a / 2) + math.exp(b / 2)
        return math.exp(a / 2) / total, math.exp(b / 2) / total

    s, t = softmax(1.0, 0.0), softmax(0.0, 3.0)
    by_hand = 4 * sum(p * math.log(p / q) for p, q in zip(t, s, strict=True))
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    loss.backward()
    # T² · (1/T) · (softmax(s/T) - softmax(t/T)), one row.
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx(
        [2 * (s[0] - t[0]), 2 * (s[1] - t[1])], rel=1e-5
    )


def test_soft_targets_are_averaged_over_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 7, generator=generator)
    one_by_one = [
        soft_targets(s[None], t[None], 1.5) for s, t in zip(student, teacher, strict=True)
    ]
    torch.testing.assert_close(soft_targets(student, teacher, 1.5), torch.stack(one_by_one).mean())


def test_soft_decisions_by_hand() -> None:
    student = torch.tensor([[0.5, -1.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, 1.0]])
    loss = soft_decisions(student, teacher, 2.0)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x / 2))

    pairs = [(sigmoid(0.5), sigmoid(2.0)), (sigmoid(-1.0), sigmoid(1.0))]
    divergences = [t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s)) for s, t in pairs]
    assert loss.item() == pytest.approx(4 * sum(divergences) / 2, rel=1e-5)
    loss.backward()
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([2 * (s - t) / 2 for s, t in pairs], rel=1e-5)


def test_hidden_directions_by_hand() -> None:
    student = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    teacher = torch.tensor([[4.0, 3.0], [0.0, 2.0]])
    assert hidden_directions(student, teacher).item() == pytest.approx((1 - 24 / 25 + 1) / 2)
    # Length does not matter, direction does.
    assert hidden_directions(student, 7 * student).item() == pytest.approx(0.0, abs=1e-6)


def test_agreement_is_zero_and_no_rows_are_no_nan() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    assert soft_targets(logits, logits, 3.0).item() == pytest.approx(0.0, abs=1e-6)
    assert soft_decisions(logits, logits, 3.0).item() == pytest.approx(0.0, abs=1e-6)
    none = torch.zeros(0, 6, requires_grad=True)
    for loss in (
        soft_targets(none, none.detach(), 2.0),
        soft_decisions(none, none.detach(), 2.0),
        hidden_directions(none, none.detach()),
        masked_tokens(none, torch.zeros(0, dtype=torch.long)),
    ):
        assert loss.item() == 0.0
        loss.backward()


def test_sure_logits_stay_finite() -> None:
    """float32 probabilities underflow at a difference of 104; the terms work in logarithms."""
    student = torch.tensor([[400.0, -400.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-400.0, 400.0, 0.0]])
    for loss in (soft_targets(student, teacher, 1.0), soft_decisions(student, teacher, 1.0)):
        assert torch.isfinite(loss)
        assert loss.item() > 100
