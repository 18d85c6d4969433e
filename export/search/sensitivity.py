"""How much the answer suffers when a single weight is stored more coarsely."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from export.outliers.migrate import Migrated
from export.recipes import WeightsRule
from export.reference import Reference
from export.rounding.grid import grid_of
from export.search.ladder import Kind, Weight
from runtime.errors import UserError
from runtime.tokenizer import batch_of

# Training texts of every length. More moved no weight by more than a place or two in the order.
_TEXTS, _BATCH = 32, 16

Floats = npt.NDArray[np.float32]


def key_of(weight: str, rule: WeightsRule, outliers: str) -> str:
    """What a measured noise is kept under."""
    parts = (weight, outliers, rule.precision, rule.granularity, rule.block, rule.scale)
    return " ".join(map(str, parts))


def measure_noise(
    moved: Migrated,
    outliers: str,
    weights: Sequence[Weight],
    rungs: Mapping[Kind, Sequence[WeightsRule]],
    calibration: Sequence[Sequence[int]],
    *,
    known: Mapping[str, float],
    found: Callable[[str, float], None],
    progress: Callable[[int, int], None],
) -> None:
    """Round one weight at a time in PyTorch and compare the logits.

    The noise is the squared error of all logits over their own squares: 10^(-SQNR / 10). It says
    which weight to spare, not what an artifact scores: activations stay in float here, and scales
    are the largest magnitude's, whatever better ones a recipe looks for.

    Args:
        moved: the model, after its outliers were moved.
        outliers: how, for `key_of`.
        weights: which.
        rungs: kind → the rules to try.
        calibration: ids of training texts.
        known: what need not be measured again; NaN for a rule that a weight cannot follow.
        found: called with key and noise as soon as one is known.
        progress: called with (done, total).
    """
    wanted = [
        (weight, rule, key)
        for weight in weights
        for rule in rungs[weight.kind]
        if (key := key_of(weight.name, rule, outliers)) not in known
    ]
    for _, _, key in [item for item in wanted if item[1].precision == "float32"]:
        found(key, 0.0)
    wanted = [item for item in wanted if item[1].precision != "float32"]
    if not wanted:
        return
    batches = _batches(moved.reference, calibration)
    exact = _logits(moved.reference, batches)
    power = float(np.square(exact).sum()) or np.nan
    parameters = dict(moved.reference.module.model.named_parameters())
    for done, (weight, rule, key) in enumerate(wanted):
        layer = weight.name.removesuffix(".weight")
        divisor = moved.divisors.get(layer) if weight.kind == "linear" else None
        parameter = parameters[weight.name]
        try:
            coarse = rounded(parameter.detach().numpy(), rule, weight.name, divisor)
        except UserError:  # its columns are no whole number of blocks
            found(key, np.nan)
        else:
            with _in_place_of(parameter, coarse):
                error = _logits(moved.reference, batches) - exact
            found(key, float(np.square(error).sum()) / power)
        progress(done + 1, len(wanted))


def rounded(
    weight: Floats, rule: WeightsRule, name: str, divisor: Floats | None = None
) -> npt.NDArray[np.float32]:
    """A weight as a rule stores it, float32 [rows, columns].

    Args:
        weight: float32 [rows, columns].
        rule: of float16, or as `export.rounding.grid.grid_of` takes it.
        name: for messages.
        divisor: float32 [columns]: what its input is divided by, and it multiplied with, before
            it is rounded; None for nothing.

    Raises:
        UserError: the rule cannot be followed.
    """
    if rule.precision == "float16":
        return weight.astype(np.float16).astype(np.float32)
    if divisor is None:
        return grid_of(weight, rule, name).dense()
    return np.asarray(grid_of(weight * divisor, rule, name).dense() / divisor, np.float32)


@contextlib.contextmanager
def _in_place_of(parameter: torch.nn.Parameter, values: Floats) -> Iterator[None]:
    """The parameter with other values; its own tensor is put back, so that no bit is lost."""
    own = parameter.data
    parameter.data = torch.from_numpy(values)
    try:
        yield
    finally:
        parameter.data = own


def _batches(
    reference: Reference, calibration: Sequence[Sequence[int]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and mask, padded; texts of like length together."""
    ordered = sorted(calibration, key=len)
    chosen = ordered[:: max(1, len(ordered) // _TEXTS)][:_TEXTS]
    side = reference.family.pad_side
    found = []
    for start in range(0, len(chosen), _BATCH):
        # Padding is masked, so any id will do.
        rows = [list(ids) for ids in chosen[start : start + _BATCH]]
        ids, mask = batch_of(rows, 0, side)
        found.append((torch.from_numpy(ids), torch.from_numpy(mask)))
    return found


def _logits(
    reference: Reference, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> npt.NDArray[np.float64]:
    with torch.inference_mode():
        return np.concatenate([reference.module(*b).double().numpy() for b in batches])
