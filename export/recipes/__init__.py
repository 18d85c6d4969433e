"""Quantization recipes and their gates: data (TOML), read strictly.

A recipe file is `TARGET_NAME.toml`. Its thresholds stand beside the values that were observed, so
that a reader sees how much room there is; change a threshold only with a new observation.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from runtime.errors import UserError

_FIELDS = {"target", "name", "version", "precision", "file", "summary", "weights", "gate"}
_OPTIONAL = {"default", "options", "activations", "outliers", "vector_gate", "family_gate"}
_OUTLIERS = ("keep", "fold", "divide")


@dataclass(frozen=True, slots=True)
class WeightsRule:
    """How one kind of weight is stored.

    Attributes:
        precision: ``float32``, ``float16``, ``int8``, ``int4``, ``uint4``; ``lut6`` for six-bit
            indices into a look-up table (palettization).
        granularity: ``channel`` (one scale per output channel), ``row`` (one per row of an
            embedding), ``block`` (one per `block` elements of a channel), ``group`` (one table per
            `block` channels), ``tensor`` or ``none``.
        algorithm: how scales or tables are chosen: ``minmax``, ``octav``, ``kmeans`` …; ``none``
            for float.
        block: elements or channels that share a scale or table, for ``block`` and ``group``.
        sparsity: share of elements set to zero and not stored, the smallest first; 0 to 1.
        reduce_range: int8 weights use 7 of their 8 bits, for processors whose integer products
            saturate in 16 bits.
        scale: how a block's scale is stored: ``float32``, ``float16``, ``bfloat16`` (rounded as
            LiteRT does), or ``multiple``, a whole number of times its output channel's float32
            scale.
    """

    precision: str
    granularity: str
    algorithm: str
    block: int = 0
    sparsity: float = 0.0
    reduce_range: bool = False
    scale: str = "float32"


@dataclass(frozen=True, slots=True)
class FamilyGate:
    """Limits of one family of models and what was observed, architecture → figure → number."""

    gate: dict[str, dict[str, float]]
    observed: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make an artifact.

    Attributes:
        target: the format that it belongs to.
        name: what RECIPE= takes, unique within the target.
        version: raised with every change of the file.
        precision: short name for tables and for the manifest.
        file: the artifact's file name in the bundle.
        linear, embedding: the rules for matrix products and for looked-up tables.
        layers: parameter of the transformers model → the rule that it follows instead.
        gate: thresholds, architecture → metric → limit, as in `runtime.parity.gates`.
        observed: the same keys → the value that was measured when the limit was set.
        default: whether it is made where no RECIPE is named.
        options: the target's own settings.
        activations: ``float``, or ``int8`` where activations are quantized with stored ranges.
        outliers: what becomes of activations' outlier channels: ``keep``; ``fold`` moves them
            into weights where that needs no further operation; ``divide`` also divides the
            inputs of other linear layers, at the price of a multiplication each.
        vector_gate, vector_observed: as `gate` and `observed`, for artifacts that give sentence
            vectors; empty where nobody has measured them.
        families: family → limits that were measured to be others for it.
    """

    target: str
    name: str
    version: int
    precision: str
    file: str
    summary: str
    linear: WeightsRule
    embedding: WeightsRule
    gate: dict[str, dict[str, float]]
    observed: dict[str, dict[str, float]]
    default: bool = True
    options: dict[str, str] = field(default_factory=dict)
    activations: str = "float"
    outliers: str = "keep"
    layers: dict[str, WeightsRule] = field(default_factory=dict)
    vector_gate: dict[str, dict[str, float]] = field(default_factory=dict)
    vector_observed: dict[str, dict[str, float]] = field(default_factory=dict)
    families: dict[str, FamilyGate] = field(default_factory=dict)

    def rule_for(self, parameter: str, kind: str) -> WeightsRule:
        """What a weight has to follow.

        Args:
            parameter: its name in the transformers model, such as ``pre_classifier.weight``.
            kind: ``linear`` or ``embedding``.
        """
        return self.layers.get(parameter, self.linear if kind == "linear" else self.embedding)

    def for_family(self, name: str) -> Recipe:
        """The recipe with the limits of a family in place of the general ones."""
        if name not in self.families:
            return self
        own = self.families[name]
        gate, observed = (
            {
                architecture: {
                    figure: special.get(architecture, {}).get(figure, number)
                    for figure, number in numbers.items()
                }
                for architecture, numbers in general.items()
            }
            for general, special in ((self.gate, own.gate), (self.observed, own.observed))
        )
        return replace(self, gate=gate, observed=observed)

    @property
    def quantizes(self) -> bool:
        """Whether it does more than to convert."""
        rules = (self.linear, self.embedding, *self.layers.values())
        return self.activations != "float" or any(
            not rule.precision.startswith("float") or rule.sparsity for rule in rules
        )


def recipes(target: str) -> dict[str, Recipe]:
    """Recipe name → recipe for one target, in the order of file names."""
    found = {}
    for entry in sorted(files(__package__).iterdir(), key=lambda item: item.name):
        if entry.name.startswith(f"{target}_") and entry.name.endswith(".toml"):
            recipe = parse_recipe(entry.read_text(encoding="utf-8"), entry.name)
            found[recipe.name] = recipe
    return found


def parse_recipe(text: str, origin: str) -> Recipe:
    """Read one recipe file.

    Args:
        text: TOML.
        origin: file name for messages.

    Raises:
        UserError: not TOML, or a field is missing, unknown or has no observed value.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe {origin} is not TOML", why=str(error)) from error
    if odd_fields := (set(value) ^ _FIELDS) - _OPTIONAL:
        odd = ", ".join(sorted(odd_fields))
        raise UserError(f"recipe {origin} has missing or unknown fields", why=odd)
    if (outliers := value.get("outliers", "keep")) not in _OUTLIERS:
        raise UserError(
            f"recipe {origin} has the unknown outliers {outliers!r}",
            todo=f"choose one of: {', '.join(_OUTLIERS)}",
        )
    try:
        rules = {kind: WeightsRule(**value["weights"][kind]) for kind in ("linear", "embedding")}
        layers = {
            name: WeightsRule(**rule) for name, rule in value["weights"].get("layers", {}).items()
        }
        gate, observed = _gate(value["gate"])
        vector_gate, vector_observed = _gate(value.get("vector_gate", {}))
        families = {
            family: FamilyGate(*_gate(limits))
            for family, limits in value.get("family_gate", {}).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"recipe {origin} is incomplete", why=repr(error)) from error
    return Recipe(
        target=value["target"],
        name=value["name"],
        version=value["version"],
        precision=value["precision"],
        file=value["file"],
        summary=value["summary"],
        linear=rules["linear"],
        embedding=rules["embedding"],
        gate=gate,
        observed=observed,
        default=value.get("default", True),
        options=value.get("options", {}),
        activations=value.get("activations", "float"),
        outliers=outliers,
        layers=layers,
        vector_gate=vector_gate,
        vector_observed=vector_observed,
        families=families,
    )


def _gate(value: dict[str, Any]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Limits and observed values, architecture → figure → number."""
    columns = [
        {
            architecture: {name: float(entry[column]) for name, entry in limits.items()}
            for architecture, limits in value.items()
        }
        for column in ("limit", "observed")
    ]
    return columns[0], columns[1]
