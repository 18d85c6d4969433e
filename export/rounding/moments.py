"""What linear layers' inputs have in common: their second moments, XᵀX over all tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import torch

from export.reference import Reference


class _EnoughError(Exception):
    """Every layer that was asked for has run."""


def linear_layers(reference: Reference) -> dict[str, torch.nn.Linear]:
    """Name → linear layer of the transformers model, each once, in the model's order."""
    model: Any = reference.module.model
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}


def order_of_run(reference: Reference, ids: Sequence[int]) -> list[tuple[str, ...]]:
    """Linear layers in the order they run; those that read one tensor are together."""
    groups: dict[tuple[int, int, tuple[int, ...]], list[str]] = {}
    kept: list[torch.Tensor] = []
    seen: set[str] = set()

    def look(name: str, inputs: torch.Tensor) -> None:
        kept.append(inputs)  # so that its memory is nobody else's
        place = inputs.untyped_storage().data_ptr(), int(inputs.storage_offset())
        if name not in seen:
            seen.add(name)
            groups.setdefault((*place, tuple(inputs.shape)), []).append(name)

    _run(reference, [ids], dict.fromkeys(linear_layers(reference), look), None)
    return [tuple(names) for names in groups.values()]


def second_moments(
    reference: Reference,
    sequences: Sequence[Sequence[int]],
    groups: Collection[tuple[str, ...]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, torch.Tensor]:
    """XᵀX of every layer's inputs, over all tokens of all texts and all its runs in one.

    A text is run no further than to the last of the layers, unless one of them runs again.

    Args:
        reference: it is run on the sequences, one at a time.
        sequences: ids with special tokens.
        groups: of `order_of_run`; a group shares a matrix.
        progress: called with (done, total) after each text.

    Returns:
        Layer → float32 [in, in].
    """
    sums: dict[str, torch.Tensor] = {}

    def add(name: str, inputs: torch.Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        if name in sums:
            sums[name].addmm_(rows.T, rows)
        else:
            sums[name] = rows.T @ rows

    leaders = [names[0] for names in groups]
    _run(reference, sequences, dict.fromkeys(leaders, add), progress, stop=True)
    return {name: sums[names[0]] for names in groups for name in names}


def _run(
    reference: Reference,
    sequences: Sequence[Sequence[int]],
    looks: dict[str, Callable[[str, torch.Tensor], None]],
    progress: Callable[[int, int], None] | None,
    *,
    stop: bool = False,
) -> None:
    layers = linear_layers(reference)
    runs: dict[str, int] = {}
    # How often each layer runs is known after the first text; the later ones may end early.
    expected: dict[str, int] = {}

    def hook_of(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            runs[name] = runs.get(name, 0) + 1
            looks[name](name, inputs[0].detach())
            if stop and runs == expected:
                raise _EnoughError

        return hook

    handles = [layers[name].register_forward_pre_hook(hook_of(name)) for name in looks]
    try:
        with torch.inference_mode():
            for number, ids in enumerate(sequences, start=1):
                runs.clear()
                row = torch.tensor([list(ids)], dtype=torch.int32)
                with suppress(_EnoughError):
                    reference.module(row, torch.ones_like(row))
                expected = expected or dict(runs)
                if progress is not None:
                    progress(number, len(sequences))
    finally:
        for handle in handles:
            handle.remove()
