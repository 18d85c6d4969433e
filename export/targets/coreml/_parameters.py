"""What a package stores of each parameter: which rows of it, and in which order of axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export.targets.coreml._mobilebert import transforms_embeddings
from export.targets.parameters import Floats, original_parameters
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import Reference

# XLNet's attention has its parameters as [channels, heads, width], which Core ML has no product
# for. Name in `rel_attn` → order of the axes in which they are stored; the last two, or for the
# output the first two, are then one: a linear layer's [outputs, inputs].
PERMUTED: Mapping[str, tuple[int, int, int]] = {
    "q": (1, 2, 0),
    "k": (1, 2, 0),
    "v": (1, 2, 0),
    "r": (1, 2, 0),
    "o": (0, 1, 2),
    "seg_embed": (1, 2, 0),
}


def stored_parameters(reference: Reference, longest: int) -> dict[str, Floats]:
    """Parameter → its values as a package has them, without those that no logit depends on.

    Args:
        reference: the model.
        longest: of the package's sequences.
    """
    rows, unused = _rows(reference, longest), _unused(reference)
    return {
        name: _permuted(name, value)[rows.get(name, slice(None))]
        for name, value in original_parameters(reference).items()
        if name not in unused
    }


def whole_parameters(
    stored: Mapping[str, Floats], reference: Reference, longest: int
) -> dict[str, Floats]:
    """The opposite: every parameter of the model in its own shape.

    Rows and parameters that are not stored have the reference's values.

    Args:
        stored: parameter → values, of the shapes that `stored_parameters` gives.
        reference: the model.
        longest: of the package's sequences.
    """
    rows = _rows(reference, longest)
    whole = {}
    for name, original in original_parameters(reference).items():
        if name not in stored:
            whole[name] = original.copy()
        elif name in rows:
            whole[name] = original.copy()
            whole[name][rows[name]] = stored[name]
        else:
            whole[name] = _restored(name, stored[name], original)
    return whole


def neutral(reference: Reference) -> set[str]:
    """Parameters that change nothing, which the converter may leave out.

    MobileBERT's norms multiply by a weight and add a bias; a new model's are all 1 and all 0.
    """
    from transformers.models.mobilebert.modeling_mobilebert import NoNorm

    found = set()
    for place, module in reference.module.model.named_modules():
        if isinstance(module, NoNorm):
            if bool((module.weight == 1).all()):
                found.add(f"{place}.weight")
            if bool((module.bias == 0).all()):
                found.add(f"{place}.bias")
    return found


def as_stored(name: str, stored: tuple[int, ...], original: Floats) -> Floats:
    """An original in the shape of its constant, which may have further axes of one element.

    Args:
        name: the parameter's.
        stored: shape of the constant, such as a 1×1 convolution's.
        original: one of `stored_parameters`.

    Raises:
        UserError: the shapes differ in more than that.
    """
    wanted = _merged(name, original.shape)
    if [n for n in stored if n != 1] != [n for n in wanted if n != 1]:
        raise UserError(
            f"the package has {name} in the shape {list(stored)}",
            why=f"the model has it in {list(wanted)}",
        )
    return original.reshape(stored)


def _rows(reference: Reference, longest: int) -> dict[str, slice]:
    """Table of embeddings → the rows that a package needs."""
    family, config = reference.family, _config(reference)
    first = family.unused_positions(config.pad_token_id or 0)
    embeddings = f"{family.root}.embeddings"
    return {
        f"{embeddings}.position_embeddings.weight": slice(first, first + longest),
        # One text is all token type 0.
        f"{embeddings}.token_type_embeddings.weight": slice(0, 1),
    }


def _unused(reference: Reference) -> set[str]:
    """Parameters that no logit of one text depends on."""
    family, config = reference.family, _config(reference)
    if family.name == "xlnet":
        return {"transformer.mask_emb"}  # of pre-training
    if family.name != "mobilebert":
        return set()
    parts: list[str] = []
    if not transforms_embeddings(config):
        parts.append(".embeddings.embedding_transformation.")
    if config.use_bottleneck and config.use_bottleneck_attention:
        parts.append(".bottleneck.attention.")
    return {name for name in original_parameters(reference) if any(p in name for p in parts)}


def _order(name: str) -> tuple[int, int, int] | None:
    place, _, last = name.rpartition(".")
    return PERMUTED.get(last) if place.endswith(".rel_attn") else None


def _permuted(name: str, original: Floats) -> Floats:
    order = _order(name)
    return original if order is None else original.transpose(order)


def _merged(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the axes made one that `PERMUTED` tells of."""
    if _order(name) is None or name.endswith(".seg_embed"):
        return shape
    first, second, third = shape
    return (first, second * third) if name.endswith(".o") else (first * second, third)


def _restored(name: str, stored: Floats, original: Floats) -> Floats:
    order = _order(name)
    if order is None:
        return stored.reshape(original.shape)
    permuted = stored.reshape([original.shape[axis] for axis in order])
    return np.ascontiguousarray(permuted.transpose(np.argsort(order)))


def _config(reference: Reference) -> Any:
    return reference.module.model.config
