"""The parameters as a TFLite file's arithmetic uses them, each compared with the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.families.plain import plain_of
from export.recipes import WeightsRule
from export.targets.base import Effective, Job
from export.targets.parameters import (
    Floats,
    add_twins,
    layer_norm_epsilon,
    original_parameters,
)
from export.targets.tflite._flatbuffer import load, operator_name
from export.targets.tflite._folding import (
    Folding,
    foldings,
    head_width,
    layer_of,
    norms_before,
)
from export.targets.tflite._stored import StoredMatrix, stored_matrix
from runtime.errors import UserError
from runtime.sessions.litert_file import same_values, text, values_of
from runtime.sessions.litert_weights import is_blockwise

# A constant from this size on must be a parameter's; smaller ones may belong to the graph.
_SMALLEST_WEIGHT = 256


@dataclass(frozen=True, slots=True)
class _Linear:
    """One FULLY_CONNECTED: its matrix and its bias, None where it has none."""

    weight: StoredMatrix
    bias: Floats | None

    def same(self, other: _Linear) -> bool:
        """Whether two signatures store one layer alike."""
        if self.bias is None or other.bias is None:
            return self.weight.same(other.weight) and self.bias is other.bias
        return self.weight.same(other.weight) and same_values(self.bias, other.bias)


@dataclass(slots=True)
class _Parts:
    """What a file stores, by the names of the model's parameters and layers.

    Attributes:
        rows: table → its first rows that are looked up, of one that is read at known places only.
    """

    linears: dict[str, _Linear] = field(default_factory=dict)
    tables: dict[str, StoredMatrix] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, Floats] = field(default_factory=dict)


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.tflite.effective`."""
    reference = job.source.reference
    plain = plain_of(reference, one_position=True)
    originals = plain.parameters
    known = [c for length in job.source.lengths for c in plain.constants(length)]
    parts = _read(load(artifact), originals, known)
    tensors: dict[str, Floats] = {}
    for name, table in parts.tables.items():
        rows = parts.rows.get(name, len(originals[name]))
        rule = job.recipe.rule_for(name, "embedding")
        if fault := table.fault(originals[name][:rows], 0.0, rule):
            raise _wrong(name, fault)
        tensors[name] = _completed(table.dense(), originals[name])
    norms = norms_before(plain)
    width = head_width(reference.module.model.config)
    for layer, stored in parts.linears.items():
        # A bias may be added by an operator of its own.
        added = parts.vectors.get(f"{layer}.bias")
        linear = stored if stored.bias is not None else replace(stored, bias=added)
        likely = foldings(layer, norms.get(layer, ()), width)
        rule = job.recipe.rule_for(f"{layer}.weight", "linear")
        weight, bias = _unfolded(layer, linear, originals, likely, rule)
        tensors[f"{layer}.weight"] = weight
        if f"{layer}.bias" in originals:
            tensors[f"{layer}.bias"] = bias
    for name, vector in parts.vectors.items():
        if not np.array_equal(vector, originals[name][: len(vector)]):
            raise _wrong(name, "it is not the original")
        tensors[name] = _completed(vector, originals[name])
    tensors |= {
        name: value
        for name, value in originals.items()
        if name not in tensors and _does_nothing(name, value)
    }
    add_twins(tensors, originals)
    restored = plain.restored(tensors)
    whole = original_parameters(reference)
    restored |= {name: whole[name] for name in plain.unused}
    return Effective(restored, float(np.float32(layer_norm_epsilon(reference))))


def _completed(used: Floats, original: Floats) -> Floats:
    """The first rows of a table, and behind them those that the file has no use for."""
    return np.concatenate([used, original[len(used) :]]) if len(used) < len(original) else used


def _read(model: Any, originals: Mapping[str, Floats], known: Sequence[Floats]) -> _Parts:
    """What the signatures store, which all must store alike.

    Args:
        model: ``ModelT``.
        originals: parameters that may be stored.
        known: further constants that may be.

    Raises:
        UserError: they do not, or something is stored that is no parameter.
    """
    parts = _Parts()
    names = [operator_name(code) for code in model.operatorCodes]
    for graph in model.subgraphs:
        seen: set[int] = set()
        for operator in graph.operators:
            kind, inputs = names[operator.opcodeIndex], [int(i) for i in operator.inputs]
            if kind not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP"):
                continue
            tensor = graph.tensors[inputs[1]]
            name, matrix = text(tensor.name), stored_matrix(model, graph, tensor)
            if matrix is None and kind == "FULLY_CONNECTED":
                continue  # of two activations: so the converter writes q · xᵀ of a single text
            if matrix is None or name not in originals:
                raise UserError(f"a {kind} reads {name}", why="it is no weight of the model's")
            if isinstance(matrix, str):
                raise _wrong(name, matrix)
            seen |= {*inputs[1:], *_scales_of(tensor)}
            if kind == "EMBEDDING_LOOKUP":
                _agree(name, parts.tables.setdefault(name, matrix).same(matrix))
                places = values_of(model, graph.tensors[inputs[0]])
                if places is not None:
                    parts.rows[name] = max(parts.rows.get(name, 0), int(places.max()) + 1)
                continue
            layer = name.removesuffix(".weight")
            bias = values_of(model, graph.tensors[inputs[2]]) if inputs[2:] > [-1] else None
            linear = _Linear(matrix, bias)
            _agree(name, parts.linears.setdefault(layer, linear).same(linear))
        for index, tensor in enumerate(graph.tensors):
            name, values = text(tensor.name), values_of(model, tensor)
            if index in seen or values is None or values.dtype.kind != "f":
                continue
            if name in originals:
                vector = _shaped(name, values, originals[name])
                _agree(name, same_values(parts.vectors.setdefault(name, vector), vector))
            elif values.size >= _SMALLEST_WEIGHT and not any(
                np.array_equal(values.ravel(), constant.ravel()) for constant in known
            ):
                raise UserError(
                    f"the file stores {name} {list(values.shape)}",
                    why="it is no weight of the model's",
                )
    return parts


def _scales_of(tensor: Any) -> tuple[int, ...]:
    """Number of the tensor with the scales of a weight's blocks, if it has blocks."""
    return (int(tensor.quantization.details.scales),) if is_blockwise(tensor) else ()


def _agree(name: str, same: bool) -> None:
    if not same:
        raise UserError(f"the file's signatures have different values of {name}")


def _shaped(name: str, values: Floats, original: Floats) -> Floats:
    """A constant that is added or multiplied in the shape of its parameter, or of its first row."""
    if values.size == original.size:
        return values.reshape(original.shape)
    if original.ndim == 2 and values.size == original.shape[1]:
        return values.reshape(1, -1)
    raise _wrong(name, f"it has the shape {list(values.shape)}")


def _unfolded(
    layer: str,
    linear: _Linear,
    originals: Mapping[str, Floats],
    known: tuple[Folding, ...],
    rule: WeightsRule,
) -> tuple[Floats, Floats]:
    """Weight and bias with what the converter multiplied into them taken out."""
    original, zeros = layer_of(layer, originals)
    dense = linear.weight.dense()
    bias = np.zeros_like(zeros) if linear.bias is None else linear.bias
    if dense.shape != original.shape:
        raise _wrong(layer, f"its weight has the shape {list(dense.shape)}")

    def distance(folding: Folding) -> float:
        return float(np.linalg.norm(dense - folding.folded(layer, originals)[0]))

    likeliest = min(known, key=distance) if len(known) > 1 else known[0]
    weight, shift = likeliest.folded(layer, originals)
    slack = likeliest.slack(layer, originals)
    if fault := linear.weight.fault(weight, slack[0], rule):
        raise _wrong(f"{layer}.weight", fault)
    if not (np.abs(bias - shift) <= slack[1]).all():
        raise _wrong(f"{layer}.bias", "it is not the original's")
    return likeliest.unfolded(layer, dense, bias, originals)


def _does_nothing(name: str, value: Floats) -> bool:
    """Whether the converter leaves a parameter out: a norm's factor of 1, or what adds 0."""
    module, _, kind = name.rpartition(".")
    if module.lower().endswith(("layernorm", "layer_norm")) and kind == "weight":
        return bool((value == 1.0).all())
    return not (value[:1] if module.endswith("token_type_embeddings") else value).any()


def _wrong(name: str, why: str) -> UserError:
    return UserError(
        f"the stored weight {name} is not what the recipe makes of the original",
        why=why,
        todo="export again; if it stays, report it",
    )
