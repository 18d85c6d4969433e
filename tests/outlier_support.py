"""Outlier channels as pretrained encoders have them, planted in small models.

Exact, the function stays the same (`plant_exact`):
- value and output projection: attention mixes tokens, never channels;
- the last LayerNorm and the head's first layer, ELECTRA's embedding LayerNorm and its projection:
  nothing else reads them;
- DistilBERT's head, through its ReLU;
- queries × s and keys ÷ s: their product is the same.

Not exact (`plant_residual`): every other LayerNorm is read by the residual as well, and the next
LayerNorm divides by what all channels of that sum have in common, so that a larger channel changes
all others. Nothing passes GELU either. Such a plant gives another model, which is judged by itself.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from export.families.base import ScalePair
from export.outliers.migrate import pairs_of, rescale
from export.reference import Reference

QUERY_KEY = (("q_lin", "k_lin"), ("query", "key"))


def channels(width: int, share: float, size: float, seed: int) -> Any:
    """float32 [width]: `size` for some channels, at least one, and 1 for the others."""
    factor = np.ones(width, np.float32)
    chosen = np.random.default_rng(seed).choice(width, max(1, int(width * share)), replace=False)
    factor[chosen] = size
    return factor


def plant_exact(reference: Reference, *, size: float = 64.0, share: float = 0.03) -> Reference:
    """The same function with outliers at every place that allows it.

    A `size` that is no power of two is exact but for the rounding of the new weights to float32.
    """
    model = copy.deepcopy(reference.module.model)
    pairs = pairs_of(reference.family, reference) + queries_and_keys(model)
    for seed, pair in enumerate(pairs):
        weight = model.get_submodule(pair.writer).weight
        factor = channels(weight.shape[0], share, size, seed)
        if pair.writer.endswith(("q_lin", "query")):
            rescale_rows(model, pair, factor)
        else:
            rescale(model, pair, factor)
    return reference.around(model)


def queries_and_keys(model: Any) -> list[ScalePair]:
    """Queries and the keys that they are multiplied with."""
    found = []
    for name, module in model.named_modules():
        for query, key in QUERY_KEY:
            if name.endswith(f".{query}") and isinstance(module, torch.nn.Linear):
                found.append(ScalePair(name, (name.removesuffix(query) + key,)))
    return found


def rescale_rows(model: Any, pair: ScalePair, factor: Any) -> None:
    """Queries × factor, keys ÷ factor."""
    by = torch.from_numpy(factor)
    with torch.no_grad():
        for name, rows in ((pair.writer, by), (pair.readers[0], 1 / by)):
            layer = model.get_submodule(name)
            layer.weight.mul_(rows[:, None])
            layer.bias.mul_(rows)


def plant_residual(reference: Reference, *, size: float = 30.0, share: float = 0.03) -> Reference:
    """Another model: channels of every LayerNorm × size, the linear layers behind it ÷ size."""
    model = copy.deepcopy(reference.module.model)
    norms = [n for n, m in model.named_modules() if isinstance(m, torch.nn.LayerNorm)]
    readers = _readers(reference)
    for name in norms:
        factor = channels(model.get_submodule(name).weight.shape[0], share, size, seed=1)
        if name in readers:
            rescale(model, ScalePair(name, readers[name]), factor)
    return reference.around(model)


def _readers(reference: Reference) -> dict[str, tuple[str, ...]]:
    """LayerNorm → the linear layers that read it, seen in a run."""
    from export.families.plain import plain_of
    from export.targets.tflite._folding import norms_before

    found: dict[str, list[str]] = {}
    for layer, norms in norms_before(plain_of(reference)).items():
        for norm in norms:
            found.setdefault(norm, []).append(layer)
    return {norm: tuple(layers) for norm, layers in found.items()}


def plant_inner(reference: Reference, *, size: float = 32.0, share: float = 0.03) -> Reference:
    """Another model: rows of the layer before GELU × size, columns of the one behind ÷ size."""
    model = copy.deepcopy(reference.module.model)
    inner = {"lin1": "lin2", "intermediate.dense": "output.dense"}
    for name, module in list(model.named_modules()):
        for first, second in inner.items():
            if name.endswith(f".{first}") and isinstance(module, torch.nn.Linear):
                factor = channels(module.weight.shape[0], share, size, seed=2)
                behind = name.removesuffix(first) + second
                rescale(model, ScalePair(name, (behind,)), factor)
    return reference.around(model)
