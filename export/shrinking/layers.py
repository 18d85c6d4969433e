"""A shallower checkpoint: some layers as they are, renumbered from 0, and all else untouched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.checkpoint import Checkpoint, load_tokenizer, read_checkpoint
from export.shrinking.configuration import depth, effective, write_config
from export.shrinking.folders import copy_tokenizer
from export.shrinking.settings import ShrinkSettings
from export.shrinking.weights import write_changed
from runtime.errors import UserError

if TYPE_CHECKING:
    import torch

# encoder.layer.3.…, transformer.layer.3.…, layer.3.…: the first such number is the layer's.
_LAYER = re.compile(r"^((?:\w+\.)*?layer\.)(\d+)(\..+)$")


def kept_layers(checkpoint: Checkpoint, settings: ShrinkSettings) -> tuple[int, ...]:
    """The layers that stay, ascending.

    Raises:
        UserError: one is named twice or is not there, the order is another, or none stays.
    """
    count = depth(checkpoint)
    option = "--layers" if settings.keep_layers is not None else "--drop-layers"
    named = settings.keep_layers if settings.keep_layers is not None else settings.drop_layers
    named = named or ()
    strange = [layer for layer in named if not 0 <= layer < count]
    if strange:
        raise UserError(
            f"{checkpoint.name} has no layer {strange[0]}",
            why=f"its layers are numbered 0 to {count - 1}",
            todo=f"name others: {option} 0",
        )
    if sorted(set(named)) != list(named):
        raise UserError(
            f"{option} {','.join(map(str, named))} is not in ascending order",
            why="the layers that stay keep their order",
            todo="name each layer once, such as 0,2,4",
        )
    if settings.keep_layers is not None:
        kept = tuple(named)
    else:
        kept = tuple(layer for layer in range(count) if layer not in named)
    if not kept:
        raise UserError(
            f"no layer of {checkpoint.name} would be left",
            why=f"{option} leaves none of its {count}",
            todo="keep at least one",
        )
    return kept


def keep_layers(checkpoint: Checkpoint, layers: Sequence[int], folder: Path) -> Checkpoint:
    """Write the checkpoint with these layers only.

    ALBERT's layers are one layer that is run again and again: there the number of runs changes, and
    no weight.

    Args:
        checkpoint: of any family.
        layers: ascending indices from 0, checked.
        folder: empty; becomes a checkpoint.

    Raises:
        UserError: the layers share their weights in groups, or are not found.
    """
    shared = int(getattr(effective(checkpoint), "num_hidden_groups", 0))
    if shared > 1:
        raise UserError(
            f"no layer of {checkpoint.name} can be left out",
            why=f"its layers share {shared} groups of weights",
            todo="leave --drop-layers and --layers out",
        )
    found = set()

    def renumber(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor] | None:
        if match := _LAYER.match(name):
            found.add(int(match[2]))
        new = name if shared else layer_name(name, layers)
        return None if new is None else (new, tensor)

    write_changed(checkpoint.path, folder, renumber)
    if not shared and found != set(range(depth(checkpoint))):
        raise UserError(
            f"the layers of {checkpoint.name} were not found among its weights",
            todo="save it again with transformers' save_pretrained",
        )
    write_config(checkpoint, {"num_hidden_layers": len(layers)}, folder)
    copy_tokenizer(checkpoint, load_tokenizer(checkpoint), folder)
    name = f"{checkpoint.name}, layers {','.join(map(str, layers))}"
    return read_checkpoint(folder, name=name, revision=None)


def layer_name(name: str, layers: Sequence[int]) -> str | None:
    """What a weight is called once these layers are all; None if it goes with its layer."""
    match = _LAYER.match(name)
    if match is None:
        return name
    old = int(match[2])
    return f"{match[1]}{layers.index(old)}{match[3]}" if old in layers else None
