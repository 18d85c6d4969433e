"""How a model's outputs move with the rows of its embeddings: second moments of their gradients.

Rounding a looked-up row by δ moves an output by about g · δ, g its gradient. The sum of (g · δ)²
over outputs, tokens and texts is δᵀ (Σ g gᵀ) δ: the same form as the error of a linear layer's
output with inputs g, so that `export.rounding.gptq` minimizes it as it is. (The empirical Fisher
matrix as curvature: Hassibi and Stork, "Second order derivatives for network pruning", NIPS 1992,
section 3.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from export.reference import Reference

# Of more outputs than this as many random sums are taken, each output with a random sign: their
# squares are on average those of the outputs. Eight are no better (export/rounding/README.md).
_MOST_OUTPUTS = 2
_SEED = 20261122


def gradient_moments(
    reference: Reference, sequences: Sequence[Sequence[int]], tables: Collection[str]
) -> dict[str, torch.Tensor]:
    """Σ g gᵀ of the rows that were looked up, over all tokens of all texts.

    Args:
        reference: it is run on the sequences, one at a time, and not changed.
        sequences: ids with special tokens.
        tables: names of embeddings of the transformers model.

    Returns:
        Table → float32 [columns, columns]; without those that were not looked up, that no output
        depends on, or of a model that overflows.
    """
    model: Any = reference.module.model
    signs = torch.Generator().manual_seed(_SEED)
    looked_up: dict[str, list[torch.Tensor]] = {}
    sums: dict[str, torch.Tensor] = {}

    def hook_of(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, rows: torch.Tensor) -> torch.Tensor:
            rows = rows.detach().requires_grad_()
            looked_up.setdefault(name, []).append(rows)
            return rows

        return hook

    handles = [model.get_submodule(n).register_forward_hook(hook_of(n)) for n in tables]
    try:
        with torch.enable_grad():
            for ids in sequences:
                looked_up.clear()
                row = torch.tensor([list(ids)], dtype=torch.int32)
                outputs = reference.module(row, torch.ones_like(row))[0]
                for number, one in enumerate(sums_of := _sums(outputs, signs), start=1):
                    _add(one, looked_up, sums, keep=number < len(sums_of))
    finally:
        for handle in handles:
            handle.remove()
    return {name: found for name, found in sums.items() if found.isfinite().all() and found.any()}


def _sums(outputs: torch.Tensor, signs: torch.Generator) -> list[torch.Tensor]:
    if len(outputs) <= _MOST_OUTPUTS:
        return list(outputs)
    random = torch.randint(0, 2, (_MOST_OUTPUTS, len(outputs)), generator=signs) * 2 - 1
    return list(random.to(outputs.dtype) @ outputs)


def _add(
    output: torch.Tensor,
    looked_up: dict[str, list[torch.Tensor]],
    sums: dict[str, torch.Tensor],
    *,
    keep: bool,
) -> None:
    places = [(name, rows) for name, found in looked_up.items() for rows in found]
    gradients = torch.autograd.grad(
        output, [rows for _, rows in places], retain_graph=keep, allow_unused=True
    )
    for (name, _), gradient in zip(places, gradients, strict=True):
        if gradient is not None:
            rows = gradient.reshape(-1, gradient.shape[-1])
            sums[name] = sums.get(name, torch.zeros(())) + rows.T @ rows
