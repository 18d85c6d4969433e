"""TFLite files as graphs that can be damaged: one graph for each length, all damaged alike."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from runtime.faults.graph import (
    GELU,
    LINEAR,
    LOOKUP,
    PRODUCT,
    SOFTMAX,
    Activation,
    Array,
    Ending,
    Graph,
    Node,
    NotApplicable,
    Weight,
    logits_name,
)
from runtime.manifest import ArtifactSpec
from runtime.sessions.litert_file import load, missing, save, schema, type_name
from runtime.sessions.litert_weights import block_scales, codes_of, is_blockwise, packed_codes

FORMAT = "tflite"

_PACKED = "INT4"

_KINDS = {
    "FULLY_CONNECTED": LINEAR,
    "EMBEDDING_LOOKUP": LOOKUP,
    "GATHER": LOOKUP,
    "BATCH_MATMUL": PRODUCT,
    "SOFTMAX": SOFTMAX,
    "GELU": GELU,
}
_MATRIX = {"FULLY_CONNECTED": 1, "EMBEDDING_LOOKUP": 1, "GATHER": 0}
_DTYPES: dict[str, type] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT8": np.int8,
    "BOOL": np.bool_,
}


def available() -> str | None:
    """None, or one line that names the install command."""
    error = missing("planting faults in TFLite files", extra="selftest")
    return None if error is None else str(error)


def read(path: Path, spec: ArtifactSpec) -> TfliteFile:
    """Read a file to be damaged.

    Raises:
        MissingExtraError: LiteRT's schema is not installed.
    """
    return TfliteFile(path, spec)


class TfliteFile:
    """A file that is edited and saved again; see `runtime.faults.Artifact`."""

    def __init__(self, path: Path, spec: ArtifactSpec) -> None:
        """Read a file."""
        self._model = load(path)
        self.graphs = tuple(
            TfliteGraph(self._model, signature, logits_name(spec))
            for signature in self._model.signatureDefs
        )

    def save(self, path: Path) -> None:
        """Write the file."""
        for graph in self.graphs:
            graph.commit()
        save(self._model, path)


class TfliteGraph(Graph):
    """One signature's graph. A value's name is its tensor's number."""

    def __init__(self, model: Any, signature: Any, output: str) -> None:
        self._schema = schema()
        self._model, self._graph = model, model.subgraphs[signature.subgraphIndex]
        self._arrays: dict[int, Array] = {}
        self._scales: dict[int, int] = {}  # weight → scales of its blocks, of its own
        named = {_text(m.name): str(m.tensorIndex) for m in signature.inputs}
        self.ids, self.mask = named["input_ids"], named["attention_mask"]
        self.logits = {_text(m.name): str(m.tensorIndex) for m in signature.outputs}[output]
        self._enums = {
            name: {v: k for k, v in vars(getattr(self._schema, name)).items() if isinstance(v, int)}
            for name in ("BuiltinOperator", "TensorType")
        }
        self.nodes = tuple(self._node(i, raw) for i, raw in enumerate(self._graph.operators))

    def _node(self, order: int, raw: Any) -> Node:
        inputs = {str(i): str(index) for i, index in enumerate(raw.inputs) if index >= 0}
        code = self._model.operatorCodes[raw.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = self._enums["BuiltinOperator"].get(number, "custom")
        kind, matrix = _KINDS.get(name, name.lower()), ""
        if name in _MATRIX:
            matrix = str(_MATRIX[name])
            shape = self.stored_shape(inputs[matrix])
            if shape is None or len(shape) != 2:
                kind, matrix = (PRODUCT if kind == LINEAR else name.lower()), ""
        return Node(order, kind, inputs, tuple(map(str, raw.outputs)), raw, matrix)

    def _data(self, name: str) -> Any:
        data = self._model.buffers[self._graph.tensors[int(name)].buffer].data
        return None if data is None or len(data) == 0 else data

    def constant(self, name: str) -> Array | None:
        """See `Graph`."""
        if int(name) in self._arrays:
            return self._arrays[int(name)]
        data = self._data(name)
        if data is None:
            return None
        tensor = self._graph.tensors[int(name)]
        if type_name(tensor) == _PACKED:
            return codes_of(self._model, tensor)
        kind = self._enums["TensorType"].get(int(tensor.type), str(tensor.type))
        if kind not in _DTYPES:
            raise NotApplicable(f"weights are stored as {kind}")
        values: Array = np.asarray(data, dtype=np.uint8).view(_DTYPES[kind])
        return values.reshape(self.stored_shape(name) or ())

    def stored_shape(self, name: str) -> tuple[int, ...] | None:
        """See `Graph`."""
        if self._data(name) is None:
            return None
        shape = self._graph.tensors[int(name)].shape
        return () if shape is None else tuple(int(axis) for axis in shape)

    def own(self, node: Node, parameter: str) -> Array:
        """See `Graph`."""
        place = int(parameter)
        index = int(node.raw.inputs[place])
        uses = sum(list(other.inputs).count(index) for other in self._graph.operators)
        if uses > 1:
            self._graph.tensors.append(copy.deepcopy(self._graph.tensors[index]))
            index = len(self._graph.tensors) - 1
            self._set_input(node, place, index)
        if index not in self._arrays:
            values = self.constant(str(index))
            if values is None:
                raise NotApplicable(f"tensor {index} is not stored in the file")
            self._arrays[index] = values.copy()
        return self._arrays[index]

    def _set_input(self, node: Node, place: int, index: int) -> None:
        inputs = np.array(node.raw.inputs, dtype=np.int32)
        inputs[place] = index
        node.raw.inputs = inputs

    def weight(self, node: Node, parameter: str = "") -> Weight:
        """See `Graph`; codes keep their scales."""
        parameter = parameter or node.matrix
        values = self.own(node, parameter)
        tensor = self._graph.tensors[int(node.raw.inputs[int(parameter)])]
        scales, bits = None, 4 if type_name(tensor) == _PACKED else 8
        if values.dtype.kind in "iu":
            quantization = tensor.quantization
            if is_blockwise(tensor):
                scales = self._block_scales(int(node.raw.inputs[int(parameter)]))
            elif quantization is None or quantization.scale is None:
                raise NotApplicable("its codes have no scales")
            else:
                quantization.scale = scales = np.array(quantization.scale, dtype=np.float32)
            if len(scales) not in (1, len(values)):
                raise NotApplicable("its scales are not one for each row")
        return Weight(_text(tensor.name), values.reshape(-1, values.shape[-1]), scales, bits=bits)

    def _block_scales(self, index: int) -> Array:
        """float16 [rows, blocks] of a weight, in a tensor that no other weight has."""
        tensor = self._graph.tensors[index]
        if index not in self._scales:
            stored = block_scales(self._model, self._graph, tensor)
            if stored is None:
                raise NotApplicable("the scales of its blocks do not fit it")
            details = tensor.quantization.details
            self._graph.tensors.append(copy.deepcopy(self._graph.tensors[details.scales]))
            details.scales = self._scales[index] = len(self._graph.tensors) - 1
            self._arrays[details.scales] = stored.copy()
        return self._arrays[self._scales[index]]

    def bias(self, node: Node) -> tuple[Node, str] | None:
        """See `Graph`."""
        return (node, "2") if node.inputs.get("2") is not None else None

    def rewire(self, node: Node, parameter: str, name: str) -> None:
        """See `Graph`."""
        self._set_input(node, int(parameter), int(name))

    def set_activation(self, node: Node, activation: Activation) -> None:
        """See `Graph`."""
        if activation == "tanh":
            if node.raw.builtinOptions.approximate:
                raise NotApplicable("its GELU is the tanh approximation")
            node.raw.builtinOptions.approximate = True
            return
        node.raw.opcodeIndex = self._opcode("RELU")
        node.raw.builtinOptionsType, node.raw.builtinOptions = 0, None

    def set_epsilon(self, value: float) -> None:
        """See `Graph`."""
        roots = [node for node in self.nodes if node.kind == "rsqrt"]
        for root in roots[len(roots) // 2 :]:
            adding = self.producer(root.inputs["0"])
            if adding is not None and adding.kind == "add":
                for parameter, name in adding.inputs.items():
                    if self.stored_shape(name) is not None:
                        self.own(adding, parameter)[...] = value
                        return
        raise NotApplicable("no epsilon was found before a reciprocal square root")

    def end_with(self, ending: Ending) -> None:
        """See `Graph`."""
        if ending == "batch_mean":
            raise NotApplicable("it takes one text at a time, so there is no batch")
        if ending == "noise":
            raise NotApplicable("a random operation is none of the runtime's fixed operators")
        old = int(self.logits)
        self._graph.tensors.append(copy.deepcopy(self._graph.tensors[old]))
        raw = len(self._graph.tensors) - 1
        for operator in self._graph.operators:
            operator.outputs = np.where(np.asarray(operator.outputs) == old, raw, operator.outputs)
        added = self._schema.OperatorT()
        added.inputs, added.outputs = np.array([raw], np.int32), np.array([old], np.int32)
        if ending == "softmax":
            added.opcodeIndex = self._opcode("SOFTMAX")
            added.builtinOptionsType = self._schema.BuiltinOptions.SoftmaxOptions
            added.builtinOptions = self._schema.SoftmaxOptionsT()
            added.builtinOptions.beta = 1.0
        else:
            added.opcodeIndex = self._opcode("LOGISTIC")
        self._graph.operators.append(added)

    def _opcode(self, name: str) -> int:
        number = getattr(self._schema.BuiltinOperator, name)
        for index, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def commit(self) -> None:
        """Put the arrays back into the file, each in a buffer of its own."""
        for index, values in self._arrays.items():
            raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
            if type_name(self._graph.tensors[index]) == _PACKED:
                raw = packed_codes(values)
            buffer = self._schema.BufferT()
            buffer.data = raw
            self._model.buffers.append(buffer)
            self._graph.tensors[index].buffer = len(self._model.buffers) - 1


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", errors="replace")
