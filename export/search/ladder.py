"""The rules that a weight may follow: those of the target's own recipes, from fine to coarse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.targets.base import Description
from export.targets.precision import parameter_of

if TYPE_CHECKING:
    import torch

Kind = Literal["linear", "embedding"]
KINDS: tuple[Kind, ...] = ("linear", "embedding")
_BITS = {"float32": 32, "float16": 16, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4}
_SCALE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "multiple": 1}
# A rule that saves less than this over a finer one is not worth a step.
_WORTH = 0.95


@dataclass(frozen=True, slots=True)
class Weight:
    """A large weight that can have a rule of its own.

    Attributes:
        name: of the parameter in the transformers model.
        kind: which of a recipe's rules it follows by default.
        rows, columns: as PyTorch has them: outputs and inputs, or entries and their width.
    """

    name: str
    kind: Kind
    rows: int
    columns: int


def weights_of(
    description: Description, parameters: Mapping[str, tuple[int, ...]]
) -> tuple[Weight, ...]:
    """The large weights of an artifact that are matrices of the model, in the artifact's order.

    What an artifact stores under another name, or in another form, has no rule of its own: it
    follows its kind's.

    Args:
        description: of an artifact of any recipe.
        parameters: of the transformers model: name → shape.
    """
    found = {}
    for weight in description.weights:
        name = parameter_of(weight.name)
        shape = parameters.get(name, ())
        kind: Kind = "embedding" if weight.role == "embedding" else "linear"
        if weight.role not in KINDS or len(shape) != 2 or weight.elements % shape[1]:
            continue
        if weight.elements >= LARGE_WEIGHT_ELEMENTS:
            # A table may be stored up to the longest length only.
            found[name] = Weight(name, kind, weight.elements // shape[1], shape[1])
    return tuple(found.values())


def stored_bytes(rule: WeightsRule, rows: int, columns: int) -> float:
    """About what a matrix takes in a file, scales included; the file's real size decides."""
    digits = "".join(c for c in rule.precision if c.isdigit())
    bits = _BITS.get(rule.precision) or int(digits or 32)
    elements = rows * columns
    size = elements * bits / 8 * (1 - rule.sparsity) + (elements / 8 if rule.sparsity else 0)
    if rule.granularity in ("channel", "row"):
        size += 4 * rows
    if rule.granularity == "block" and rule.block:
        size += elements / rule.block * _SCALE_BYTES.get(rule.scale, 4)
        size += 4 * rows if rule.scale == "multiple" else 0
    return size


def rungs_of(
    recipes: Sequence[Recipe], weights: Sequence[Weight]
) -> dict[Kind, tuple[WeightsRule, ...]]:
    """Kind → the rules that some recipe has for it, from fine to coarse.

    Of rules that take about the same the first recipe's stands for all; rules for processors
    without the usual instructions (`reduce_range`) and with zeros left out are only tried whole.
    """
    found: dict[Kind, tuple[WeightsRule, ...]] = {}
    for kind in KINDS:
        shapes = [(w.rows, w.columns) for w in weights if w.kind == kind]
        rules = dict.fromkeys(
            recipe.rule_for("", kind) for recipe in sorted(recipes, key=lambda r: not r.default)
        )
        sizes = {
            rule: sum(stored_bytes(rule, *shape) for shape in shapes)
            for rule in rules
            if not rule.reduce_range and not rule.sparsity
        }
        rungs: list[WeightsRule] = []
        for rule in sorted(sizes, key=lambda rule: -sizes[rule]):
            if not rungs or sizes[rule] < _WORTH * sizes[rungs[-1]]:
                rungs.append(rule)
        found[kind] = tuple(rungs)
    return found


def weights_of_model(model: torch.nn.Module) -> tuple[tuple[Weight, ...], int]:
    """Large matrices of a PyTorch model, and the bytes of everything else in float32."""
    from torch import nn

    tables = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    weights, rest = [], 0
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or parameter.numel() < LARGE_WEIGHT_ELEMENTS:
            rest += 4 * parameter.numel()
            continue
        rows = parameter.shape[0]
        kind: Kind = "embedding" if name in tables else "linear"
        weights.append(Weight(name, kind, rows, parameter.numel() // rows))
    return tuple(weights), rest
