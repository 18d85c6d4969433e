"""Tensors from one checkpoint's files to another's, one rule for each name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# A name and a tensor → the same for the new file, None to leave it out.
Change = Callable[[str, "torch.Tensor"], "tuple[str, torch.Tensor] | None"]

WEIGHTS = "model.safetensors"


def tensors_in(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a checkpoint folder as it is stored, of sharded ones too."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                yield name, tensors.get_tensor(name)


def write_changed(source: Path, destination: Path, change: Change) -> None:
    """Write one safetensors file with what `change` makes of the source's tensors.

    Dtypes stay; the same tensors give the same bytes.

    Args:
        source: a checkpoint's folder.
        destination: another one.
        change: the rule.
    """
    from safetensors.torch import save_file

    kept = (change(name, tensor) for name, tensor in tensors_in(source))
    named = {name: tensor.contiguous() for name, tensor in filter(None, kept)}
    save_file(named, destination / WEIGHTS, metadata={"format": "pt"})
