"""The parameters as a TFLite file's arithmetic uses them, each compared with the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.targets.base import Effective, Job
from export.targets.parameters import (
    Floats,
    add_twins,
    layer_norm_epsilon,
    original_parameters,
)
from export.targets.tflite._flatbuffer import load, operator_name, scales_of
from export.targets.tflite._folding import Folding, foldings
from export.targets.tflite._stored import StoredMatrix
from runtime.errors import UserError
from runtime.sessions.litert_file import same_values, text, values_of

_POSITIONS = "distilbert.embeddings.position_embeddings.weight"
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
    """What a file stores, by the names of the model's parameters and layers."""

    linears: dict[str, _Linear] = field(default_factory=dict)
    tables: dict[str, StoredMatrix] = field(default_factory=dict)
    vectors: dict[str, Floats] = field(default_factory=dict)


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.tflite.effective`."""
    reference = job.source.reference
    originals = original_parameters(reference)
    parts = _read(load(artifact), originals)
    tensors: dict[str, Floats] = {}
    for name, table in parts.tables.items():
        used = originals[name][: job.source.lengths[-1]] if name == _POSITIONS else originals[name]
        if fault := table.fault(used, 0.0, job.recipe.embedding):
            raise _wrong(name, fault)
        unused = originals[name][len(used) :]
        tensors[name] = np.concatenate([table.dense(), unused]) if len(unused) else table.dense()
    for layer, linear in parts.linears.items():
        weight, bias = _unfolded(layer, linear, originals, job)
        tensors |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
    for name, vector in parts.vectors.items():
        if not np.array_equal(vector, originals[name]):
            raise _wrong(name, "it is not the original")
        tensors[name] = vector
    tensors |= {
        name: value
        for name, value in originals.items()
        if name not in tensors and _does_nothing(name, value)
    }
    add_twins(tensors, originals)
    return Effective(tensors, float(np.float32(layer_norm_epsilon(reference))))


def _read(model: Any, originals: Mapping[str, Floats]) -> _Parts:
    """What the signatures store, which all must store alike.

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
            name, values = text(tensor.name), values_of(model, tensor)
            if values is None or name not in originals:
                raise UserError(f"a {kind} reads {name}", why="it is no weight of the model's")
            matrix = StoredMatrix(values, tensor.quantization if scales_of(tensor) else None)
            seen |= set(inputs[1:])
            if kind == "EMBEDDING_LOOKUP":
                _agree(name, parts.tables.setdefault(name, matrix).same(matrix))
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
                _agree(name, same_values(parts.vectors.setdefault(name, values), values))
            elif values.size >= _SMALLEST_WEIGHT:
                raise UserError(
                    f"the file stores {name} {list(values.shape)}",
                    why="it is no weight of the model's",
                )
    return parts


def _agree(name: str, same: bool) -> None:
    if not same:
        raise UserError(f"the file's signatures have different values of {name}")


def _unfolded(
    layer: str, linear: _Linear, originals: Mapping[str, Floats], job: Job
) -> tuple[Floats, Floats]:
    """Weight and bias with what the converter multiplied into them taken out."""
    config: Any = job.source.reference.module.model.config
    known = foldings(layer, config.n_layers, config.dim // config.n_heads)
    dense = linear.weight.dense()
    bias = np.zeros_like(originals[f"{layer}.bias"]) if linear.bias is None else linear.bias
    if dense.shape != originals[f"{layer}.weight"].shape:
        raise _wrong(layer, f"its weight has the shape {list(dense.shape)}")

    def distance(folding: Folding) -> float:
        return float(np.linalg.norm(dense - folding.folded(layer, originals)[0]))

    likeliest = min(known, key=distance) if len(known) > 1 else known[0]
    weight, shift = likeliest.folded(layer, originals)
    slack = likeliest.slack(layer, originals)
    if fault := linear.weight.fault(weight, slack[0], job.recipe.linear):
        raise _wrong(f"{layer}.weight", fault)
    if not (np.abs(bias - shift) <= slack[1]).all():
        raise _wrong(f"{layer}.bias", "it is not the original's")
    return likeliest.unfolded(layer, dense, bias, originals)


def _does_nothing(name: str, value: Floats) -> bool:
    """Whether a LayerNorm's factor is 1 or its shift 0, which the converter leaves out."""
    module, _, kind = name.rpartition(".")
    if not module.lower().endswith(("layernorm", "layer_norm")):
        return False
    return bool((value == (1.0 if kind == "weight" else 0.0)).all())


def _wrong(name: str, why: str) -> UserError:
    return UserError(
        f"the stored weight {name} is not what the recipe makes of the original",
        why=why,
        todo="export again; if it stays, report it",
    )
