from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from export.training.losses import TaskLoss, count

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0], [1.0, 1.0, -2.0]])
CLASSES = torch.tensor([0, 2, 1, 1])
TARGETS = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]])


def log_softmax(z: torch.Tensor) -> torch.Tensor:
    return z - z.exp().sum(dim=1, keepdim=True).log()


def test_single_label_is_the_log_loss() -> None:
    loss = TaskLoss(multi_label=False)(LOGITS, CLASSES)
    probabilities = log_softmax(LOGITS).exp().double().numpy()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert loss.item() == pytest.approx(
        log_loss(CLASSES, probabilities, labels=[0, 1, 2]), abs=1e-6
    )


def test_class_weights_scale_each_text_and_not_the_count() -> None:
    weights = (0.5, 2.0, 3.0)
    each = -log_softmax(LOGITS)[range(4), CLASSES]
    expected = (each * torch.tensor([weights[i] for i in CLASSES])).sum() / 4
    assert TaskLoss(multi_label=False, weights=weights)(LOGITS, CLASSES).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_smoothing_composes_with_weights() -> None:
    """Without weights it is the mix with the uniform target; equal weights only scale it."""
    plain = TaskLoss(multi_label=False, smoothing=0.1)(LOGITS, CLASSES).item()
    p = log_softmax(LOGITS)
    expected = 0.9 * -p[range(4), CLASSES].mean() + 0.1 * -p.mean()
    assert plain == pytest.approx(expected.item(), abs=1e-6)
    tripled = TaskLoss(multi_label=False, smoothing=0.1, weights=(3.0,) * 3)(LOGITS, CLASSES)
    assert tripled.item() == pytest.approx(3 * plain, rel=1e-6)


def test_multi_label_with_positive_weights() -> None:
    p = torch.sigmoid(LOGITS.double()).numpy()
    t = TARGETS.numpy()
    w = np.array([1.0, 5.0, 2.0])
    expected = -(w * t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    loss = TaskLoss(multi_label=True, weights=(1.0, 5.0, 2.0))(LOGITS, TARGETS)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_parts_add_up_and_ignored_texts_do_not_count(multi_label: bool) -> None:
    """A step cut 3 + 1 + a text without a target is the step."""
    loss = TaskLoss(multi_label=multi_label, weights=(1.0, 2.0, 3.0))
    labels = TARGETS if multi_label else CLASSES
    nothing = torch.full_like(labels[:1], -100)
    items = count(labels)
    assert items == (12 if multi_label else 4)
    assert count(nothing) == 0
    parts = [
        loss(LOGITS[:3], labels[:3], items),
        loss(LOGITS[3:], labels[3:], items),
        loss(LOGITS[:1], nothing, items),
    ]
    assert parts[2].item() == 0.0
    assert sum(part.item() for part in parts) == pytest.approx(
        loss(LOGITS, labels).item(), abs=1e-6
    )


def test_a_pass_without_targets_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    TaskLoss(multi_label=False)(logits, torch.full((4,), -100)).backward()
    assert logits.grad is not None
    assert not logits.grad.any()
