"""Moves outliers out of activations, where that helps, and proves that nothing else changed.

The last block as targets get it (`export.families.plain.one_position`) has one more pair: its
queries, multiplied by the transposed matrix of the keys, are a linear layer's input themselves.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.families.base import Family, ScalePair
from export.families.plain.one_position import QueryKey, query_and_key
from export.outliers.measure import LinearInput, linear_inputs
from export.reference import Reference
from runtime.errors import UserError

# Training texts that inputs are measured on.
_TEXTS = 8
# How many times smaller the error of a layer's product must become: a fold costs nothing but the
# risk that these texts are unlike others, a division costs time on every run.
_WORTH_FOLDING, _WORTH_DIVIDING = 2.0, 4.0
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Migrated:
    """A model ready to be quantized.

    Attributes:
        reference: the same function; the same object if nothing was folded.
        folded: reader → float32 [in]: what its input is divided by, by its writer's own weights.
            The input of the last block's keys is what they are multiplied with: the query.
        divisors: reader → float32 [in]: what its input has still to be divided by.
    """

    reference: Reference
    folded: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    divisors: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)


def migrated(
    reference: Reference, calibration: Sequence[Sequence[int]], *, divide: bool
) -> Migrated:
    """Even out the inputs of linear layers.

    Args:
        reference: it is not changed.
        calibration: ids of training texts; without any nothing can be measured, nor is it moved.
        divide: whether to find divisors for the layers that nothing can be folded into.

    Raises:
        UserError: the function is not the same afterwards, which is a fault of the family's pairs.
    """
    texts = _longest_spread(calibration)
    pairs = {pair.readers: pair.writer for pair in pairs_of(reference.family, reference)}
    if not texts or not pairs:
        return Migrated(reference)
    result = Migrated(reference)
    for found in linear_inputs(reference, texts):
        writer = pairs.get(found.readers)
        if writer is None and not divide:
            continue
        divisor, gain = found.best_divisor()
        if gain < (_WORTH_DIVIDING if writer is None else _WORTH_FOLDING):
            continue
        chosen = result.divisors if writer is None else result.folded
        chosen.update(dict.fromkeys(found.readers, divisor.numpy()))
    last = query_and_key(reference.module)
    if last is not None:
        # A divisor that was found with the query's and the value's is of this matrix' outputs.
        result.divisors.pop(last.key, None)
        divisor, gain = _read_by_keys(reference, last, texts).best_divisor()
        if gain >= _WORTH_FOLDING:
            result.folded[last.key] = divisor.numpy()
    if not result.folded:
        return result
    model = copy.deepcopy(reference.module.model)
    if last is not None and last.key in result.folded:
        _rescale_products(model, last, np.float32(1) / result.folded[last.key])
    for readers, writer in pairs.items():
        if readers[0] in result.folded:
            rescale(model, ScalePair(writer, readers), np.float32(1) / result.folded[readers[0]])
    after = reference.around(model)
    check_same(reference, after, texts)
    return Migrated(after, result.folded, result.divisors)


def pairs_of(family: Family, reference: Reference) -> list[ScalePair]:
    """A family's pairs with the names of one model's layers; those that it lacks are left out."""
    modules = dict(reference.module.model.named_modules())
    numbers = [int(n) for name in modules for n in re.findall(r"\blayer\.(\d+)\.", name)]
    found = []
    for pair in family.scale_pairs:
        layers = range(max(numbers, default=-1) + 1) if "{layer}" in pair.writer else range(1)
        for layer in layers:
            writer, *readers = (
                name.format(layer=layer, last=max(numbers, default=0))
                for name in (pair.writer, *pair.readers)
            )
            if {writer, *readers} <= modules.keys():
                found.append(ScalePair(writer, tuple(sorted(readers))))
    return found


def rescale(model: Any, pair: ScalePair, factor: npt.NDArray[np.float32]) -> None:
    """Multiply what the writer gives by `factor`, [channels], and divide in the readers."""
    by = torch.from_numpy(np.asarray(factor))
    with torch.no_grad():
        writer = model.get_submodule(pair.writer)
        weight = writer.weight
        weight.copy_(weight * by.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1)))
        if writer.bias is not None:
            writer.bias.mul_(by.to(weight.dtype))
        for reader in pair.readers:
            columns = model.get_submodule(reader).weight
            columns.copy_(columns / by.to(columns.dtype))


def _read_by_keys(
    reference: Reference, last: QueryKey, texts: Sequence[Sequence[int]]
) -> LinearInput:
    """What the last block's transposed keys read, and their matrix, as targets have it."""
    short = replace(reference, module=last.module)
    return next(found for found in linear_inputs(short, texts) if last.key in found.readers)


def _rescale_products(model: Any, last: QueryKey, factor: npt.NDArray[np.float32]) -> None:
    """Multiply queries by `factor`, [channels], and divide the keys that they meet by it."""
    by = torch.from_numpy(factor)
    with torch.no_grad():
        for name, rows in ((last.query, by), (last.key, 1 / by)):
            layer = model.get_submodule(name)
            layer.weight.mul_(rows[:, None])
            layer.bias.mul_(rows)


def difference(before: Reference, after: Reference, sequences: Sequence[Sequence[int]]) -> float:
    """Largest difference of an output in double precision, relative to the largest output."""
    outputs = [_in_double(reference, sequences) for reference in (before, after)]
    worst = (outputs[0] - outputs[1]).abs().max()
    return float(worst / outputs[0].abs().max().clamp(min=torch.finfo(torch.float64).tiny))


def check_same(before: Reference, after: Reference, sequences: Sequence[Sequence[int]]) -> None:
    """Compare two models in double precision.

    Raises:
        UserError: they differ by more than rounding in double precision can explain.
    """
    found = difference(before, after, sequences)
    if not found <= _SAME:  # NaN must not pass
        raise UserError(
            "moving outliers into weights changed the model",
            why=f"in double precision its output differs by {found:.1g}: something else reads "
            "the channels that were rescaled",
            todo="report it, or export with RECIPE=float32",
        )


def _in_double(reference: Reference, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    model: Any = copy.deepcopy(reference.module.model).double()
    if hasattr(model, "set_attn_implementation"):
        # The fused kernels refuse our float32 mask beside double queries.
        model.set_attn_implementation("eager")
    module = reference.module.around(model).eval()
    rows = []
    with torch.inference_mode():
        for ids in sequences:
            row = torch.tensor([list(ids)], dtype=torch.int32)
            rows.append(module(row, torch.ones_like(row)))
    return torch.cat(rows)


def _longest_spread(calibration: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Texts of every length, evenly chosen."""
    ordered = sorted(calibration, key=len, reverse=True)
    return list(ordered[:: max(1, len(ordered) // _TEXTS)][:_TEXTS])
