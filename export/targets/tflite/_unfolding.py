"""Linear layers as they are, where what the converter put into them costs more than it saves.

The converter puts a LayerNorm, and the bias of a linear layer, into the linear layer behind it. The
graph has the LayerNorm's own output as well, for the residual. Two cases are taken back, by reading
that output:

- a layer that runs several times, as ALBERT's, would be stored once for what is before its first
  run, and once more for the LayerNorm before the others;
- a bias that is in other layers' biases: nothing is saved, and it is nowhere to be seen.

Where every matrix must stay as it is, all of them are taken back: weights that were rounded to a
recipe's integers beforehand would be rounded again after the multiplication. The attention's scale,
which the converter puts into queries and keys, becomes a multiplication of its own then.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.targets.tflite._flatbuffer import add_buffer, has_data, operator_name, values_of
from export.targets.tflite._names import Matcher

# Of a product computed in float32, relative to the largest element; a bias is a sum of products.
_ROUNDING, _BIAS_ROUNDING = 1e-6, 1e-5
_Doubles = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Before:
    """What a linear layer's input becomes elsewhere.

    Attributes:
        factor, shift: that it is multiplied by, and that is added to it then.
        output: tensor of the result.
        place: of the operator that gives it.
    """

    factor: _Doubles
    shift: _Doubles
    output: int
    place: int


def unfold(model: Any, matcher: Matcher, *, everything: bool = False) -> None:
    """Take the LayerNorm or the bias out of layers where that is worth it.

    Args:
        model: ``ModelT``, changed in place.
        matcher: finds the parameter that a stored matrix is.
        everything: out of every layer whose input the graph has elsewhere, and the attention's
            scale as well.
    """
    made: dict[str, tuple[int, int | None]] = {}
    scales: list[dict[int, float]] = [{} for _ in model.subgraphs]
    for number, graph in enumerate(model.subgraphs):
        uses: dict[str, list[int]] = defaultdict(list)
        for place, operator in enumerate(graph.operators):
            matrix = graph.tensors[operator.inputs[1]] if _is(model, operator, _LINEAR) else None
            if matrix is not None and has_data(model, matrix) and (n := matcher.names(matrix)):
                uses[n[0]].append(place)
        for name, places in uses.items():
            inputs = [graph.operators[place].inputs for place in places]
            several = len({graph.tensors[i[1]].buffer for i in inputs}) > 1
            layer = _Layer(
                model, graph, name, matcher.parameters, made, scales[number] if everything else None
            )
            bare = []
            for place in places:
                read = int(graph.operators[place].inputs[0])
                before = _before(model, graph, read)
                if before is None or before.place > place:
                    bare.append((place, _Before(np.ones(1), np.zeros(1), read, -1)))
                elif several or everything or _lacks_bias(model, graph, read):
                    layer.take_out(place, before)
            # ALBERT's last run reads a slice, into which nothing was put: it is the same layer.
            for place, nothing in bare if everything or name in made else ():
                layer.take_out(place, nothing)
        _insert_scales(model, graph, scales[number])
        _drop_unused(model, number)


_LINEAR = "FULLY_CONNECTED"


def _is(model: Any, operator: Any, kind: str) -> bool:
    return operator_name(model.operatorCodes[operator.opcodeIndex]) == kind


def _lacks_bias(model: Any, graph: Any, index: int) -> bool:
    """Whether tensor `index` comes of a linear layer without a bias."""
    for operator in graph.operators:
        if index in operator.outputs:
            return _is(model, operator, _LINEAR) and list(operator.inputs[2:]) in ([], [-1])
    return False


def _before(model: Any, graph: Any, index: int) -> _Before | None:
    """The factor and the shift that tensor `index` gets elsewhere; either may be left out."""
    found = _Before(np.ones(1), np.zeros(1), index, -1)
    for kind in ("MUL", "ADD"):
        for place, operator in enumerate(graph.operators):
            if not _is(model, operator, kind) or int(operator.inputs[0]) != found.output:
                continue
            vector = graph.tensors[operator.inputs[1]]
            # One number where all are alike.
            if not has_data(model, vector) or len(vector.shape) > 1:
                continue
            values = values_of(model, vector).astype(np.float64).reshape(-1)
            if kind == "MUL":
                found.factor = values
            else:
                found.shift = values
            found.output, found.place = int(operator.outputs[0]), place
            break
    return None if found.place < 0 else found


@dataclass(frozen=True, slots=True)
class _Layer:
    """One linear layer of one signature.

    Attributes:
        made: parameter → buffers of its matrix and bias as they are, for all signatures.
        scales: place of a layer → what its output must be multiplied by; None where that stays in
            the matrix.
    """

    model: Any
    graph: Any
    name: str
    parameters: Any
    made: dict[str, tuple[int, int | None]]
    scales: dict[int, float] | None

    def take_out(self, place: int, before: _Before) -> None:
        """Make one use read what comes of its input, with the matrix as it is, if that is true."""
        operator = self.graph.operators[place]
        matrix = values_of(self.model, self.graph.tensors[operator.inputs[1]]).astype(np.float64)
        own = self.parameters[self.name].astype(np.float64)
        through = own * before.factor
        # Queries and keys carry a part of the attention's scale.
        scale = float((matrix * through).sum() / (through * through).sum())
        scale = 1.0 if abs(scale - 1) < _ROUNDING else scale
        bias = self.parameters.get(f"{self.name.removesuffix('.weight')}.bias", np.zeros(len(own)))
        terms = np.abs(bias).max() + (np.abs(own) * np.abs(before.shift)).sum(axis=1).max()
        shifted = bias.astype(np.float64) + (own * before.shift).sum(axis=1)
        if not (
            np.abs(matrix - scale * through).max() <= _ROUNDING * np.abs(matrix).max()
            and np.abs(self._bias(operator) - scale * shifted).max() <= _BIAS_ROUNDING * terms
        ):
            return
        if self.scales is not None and scale != 1.0:
            self.scales[place] = scale
            scale = 1.0
        if self.name not in self.made:
            buffers = [add_buffer(self.model, (v * scale).astype(np.float32)) for v in (own, bias)]
            self.made[self.name] = (buffers[0], buffers[1] if bias.any() else None)
        stored, shift = self.made[self.name]
        inputs = [before.output, self._tensor(own.shape, stored), -1]
        if shift is not None:
            inputs[2] = self._tensor(bias.shape, shift)
        operator.inputs = np.array(inputs, dtype=np.int32)

    def _bias(self, operator: Any) -> _Doubles:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return np.zeros(1)
        values: _Doubles = values_of(self.model, self.graph.tensors[operator.inputs[2]])
        return values.astype(np.float64)

    def _tensor(self, shape: tuple[int, ...], buffer: int) -> int:
        """A tensor for a buffer, the one that is there if there is one."""
        for index, tensor in enumerate(self.graph.tensors):
            if tensor.buffer == buffer:
                return index
        self.graph.tensors.append(
            schema.TensorT(
                name="",
                type=schema.TensorType.FLOAT32,
                shape=np.array(shape, dtype=np.int32),
                buffer=buffer,
                hasRank=True,
            )
        )
        return len(self.graph.tensors) - 1


def _insert_scales(model: Any, graph: Any, scales: dict[int, float]) -> None:
    """Multiply the outputs of linear layers: place of the operator → factor."""
    for place in sorted(scales, reverse=True):
        operator = graph.operators[place]
        output = int(operator.outputs[0])
        unscaled = copy.copy(graph.tensors[output])
        factor = np.array(scales[place], dtype=np.float32)
        constant = schema.TensorT(
            name="",
            type=schema.TensorType.FLOAT32,
            shape=np.array([], dtype=np.int32),
            buffer=add_buffer(model, factor),
            hasRank=True,
        )
        graph.tensors += [unscaled, constant]
        index = len(graph.tensors)
        operator.outputs = np.array([index - 2], dtype=np.int32)
        multiply = schema.OperatorT(
            opcodeIndex=_multiply_code(model),
            inputs=np.array([index - 2, index - 1], dtype=np.int32),
            outputs=np.array([output], dtype=np.int32),
            builtinOptionsType=schema.BuiltinOptions.MulOptions,
            builtinOptions=schema.MulOptionsT(),
        )
        graph.operators.insert(place + 1, multiply)


def _multiply_code(model: Any) -> int:
    """Index of MUL in the operator codes; every LayerNorm has one."""
    return next(i for i, code in enumerate(model.operatorCodes) if operator_name(code) == "MUL")


def _drop_unused(model: Any, number: int) -> None:
    """Remove the tensors of a signature that nothing reads or writes any more."""
    graph = model.subgraphs[number]
    ends = [*graph.inputs, *graph.outputs]
    touched = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)} | set(ends)
    kept = [index for index in range(len(graph.tensors)) if index in touched]
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}

    def moved(indices: Any) -> Any:
        return np.array([place[int(index)] for index in indices], dtype=np.int32)

    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    for signature in model.signatureDefs:
        if signature.subgraphIndex == number:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = place[int(entry.tensorIndex)]
