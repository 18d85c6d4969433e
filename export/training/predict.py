"""Logits of a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Collate = Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]


@torch.no_grad()
def predict(
    module: torch.nn.Module,
    dataset: torch.utils.data.Dataset[dict[str, Any]],
    collate: Collate,
    *,
    batch_size: int = 64,
    share: tuple[int, int] = (0, 1),
) -> npt.NDArray[np.float32]:
    """Run a module in evaluation mode over rows in batches of like length.

    torch's random state is neither read nor changed, and the module's mode is put back.

    Args:
        module: gives ``logits`` for what `collate` makes, without ``labels``.
        dataset: rows; where they have ``input_ids``, batches are made by length.
        collate: rows → tensors.
        batch_size: rows at a time.
        share: (rank, processes): run every so manieth batch only. All other rows stay 0, so that
            the shares of all processes add up to the whole.

    Returns:
        Logits, float32 [rows, labels], in the dataset's order.
    """
    rows = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i].get("input_ids", ())))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    rank, processes = share
    mine = batches[rank::processes]
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    try:
        # A process without a batch runs one all the same: it tells how many labels there are.
        parts = [
            _logits(module, collate([rows[i] for i in b]), device) for b in mine or batches[:1]
        ]
    finally:
        module.train(training)
    logits = np.zeros((len(rows), parts[0].shape[1]), dtype=np.float32)
    for indices, part in zip(mine, parts, strict=False):
        logits[indices] = part
    return logits


def _logits(
    module: torch.nn.Module, batch: dict[str, torch.Tensor], device: torch.device
) -> npt.NDArray[np.float32]:
    inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
    values: npt.NDArray[np.float32] = module(**inputs)["logits"].float().cpu().numpy()
    return values
