"""ONNX files as graphs that can be damaged, through the onnx package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import MissingExtraError
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
from runtime.faults.onnx_packed import PackedTensor, packed_tensors
from runtime.manifest import ArtifactSpec
from runtime.sessions.onnx_packed import pack, pack_linear, unpack, unpack_linear

FORMAT = "onnx"

_KINDS = {"Softmax": SOFTMAX, "Gelu": GELU, "MatMul": PRODUCT, "Einsum": PRODUCT}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "Gemm": 1}
_LOOKUPS = {"Gather": 0, "Slice": 0}
# Between an integer product and its bias: Cast, Mul by the scales, Add.
_STEPS_TO_BIAS = 3


def available() -> str | None:
    """None, or one line that names the install command."""
    return None if find_spec("onnx") else str(_missing())


def _missing() -> MissingExtraError:
    return MissingExtraError("onnx", extra="selftest", purpose="planting faults in ONNX files")


class OnnxFile:
    """A file that is edited and saved again; see `runtime.faults.Artifact`."""

    def __init__(self, path: Path, spec: ArtifactSpec) -> None:
        """Read a file.

        Raises:
            MissingExtraError: the onnx package is not installed.
        """
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise _missing() from error
        self._onnx: Any = onnx
        self._model = onnx.load(path)
        self.graphs = (OnnxGraph(onnx, self._model.graph, spec),)

    def save(self, path: Path) -> None:
        """Write the file."""
        self.graphs[0].commit()
        self._onnx.save(self._model, path)


class OnnxGraph(Graph):
    """The only graph of an ONNX file."""

    def __init__(self, onnx: Any, graph: Any, spec: ArtifactSpec) -> None:
        self._onnx, self._graph = onnx, graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, Array] = {}
        self._packed = packed_tensors(graph, onnx.TensorProto.UINT8)
        self._pairs = {packed.pairs for packed in self._packed.values()}
        # Codes that were unpacked, by the name of their bytes.
        self._codes: dict[str, Array] = {}
        self.ids, self.mask = "input_ids", "attention_mask"
        self.logits = logits_name(spec)
        self.nodes = tuple(self._node(i, node) for i, node in enumerate(graph.node))

    def _node(self, order: int, raw: Any) -> Node:
        inputs = {str(i): name for i, name in enumerate(raw.input) if name}
        kind, matrix = _KINDS.get(raw.op_type, raw.op_type.lower()), ""
        for kinds, unified in ((_PRODUCTS, LINEAR), (_LOOKUPS, LOOKUP)):
            place = str(kinds.get(raw.op_type, ""))
            if self._is_matrix(inputs.get(place, "")):
                kind, matrix = unified, place
        return Node(order, kind, inputs, tuple(raw.output), raw, matrix)

    def _is_matrix(self, name: str) -> bool:
        tensor = self._stored.get(name)
        if name in self._packed or tensor is None or name in self._pairs:
            return name in self._packed
        # What is INT64 holds positions or shapes.
        return len(tensor.dims) == 2 and tensor.data_type != self._onnx.TensorProto.INT64

    def constant(self, name: str) -> Array | None:
        """See `Graph`."""
        if name not in self._stored:
            return None
        if name not in self._arrays:
            array: Array = self._onnx.numpy_helper.to_array(self._stored[name])
            return array
        return self._arrays[name]

    def stored_shape(self, name: str) -> tuple[int, ...] | None:
        """See `Graph`."""
        if name in self._packed:
            return self._packed[name].shape
        return tuple(self._stored[name].dims) if name in self._stored else None

    def own(self, node: Node, parameter: str) -> Array:
        """See `Graph`."""
        name = node.inputs[parameter]
        if name not in self._stored:
            raise NotApplicable(f"{name} is not stored in the file")
        place = int(parameter)
        uses = sum(list(other.input).count(name) for other in self._graph.node)
        if uses > 1 and node.raw.input[place] == name:
            copy = self._onnx.TensorProto()
            copy.CopyFrom(self._stored[name])
            copy.name = name = f"{name}/of {node.outputs[0]}"
            self._graph.initializer.append(copy)
            self._stored[name] = self._graph.initializer[-1]
            node.raw.input[place] = name
        return self._array(node.raw.input[place])

    def weight(self, node: Node, parameter: str = "") -> Weight:
        """See `Graph`; codes keep their scales."""
        parameter = parameter or node.matrix
        if node.inputs[parameter] in self._packed:
            return self._packed_weight(node, self._packed[node.inputs[parameter]])
        values = self.own(node, parameter)
        if node.kind == LINEAR and not self._attribute(node, "transB"):
            values = values.T
        scales = None
        if values.dtype.kind in "iu":
            where = self._scales(node, len(values))
            scales = self.own(*where).reshape(-1)
        return Weight(node.inputs[parameter], values.reshape(-1, values.shape[-1]), scales)

    def _packed_weight(self, node: Node, packed: PackedTensor) -> Weight:
        """Codes of four bits, which `commit` packs again."""
        read = node.inputs[node.matrix]
        if sum(read in other.input for other in self._graph.node) > 1:
            raise NotApplicable(f"several operations read {read}")
        if packed.name not in self._codes:
            stored = self._onnx.numpy_helper.to_array(self._stored[packed.name])
            self._codes[packed.name] = (unpack_linear if packed.is_linear else unpack)(stored)
        codes = self._codes[packed.name]
        codes = codes.reshape(-1, codes.shape[-1])
        rows = len(codes)
        if packed.is_linear:
            scales = self.own(*self._scales(node, rows)).reshape(-1)
            multiples = self._array(packed.multiples).reshape(-1, rows).T
            return Weight(packed.name, codes, scales, bits=4, multiples=multiples)
        arrays = [self._array(name).reshape(rows, -1) for name in self._looked_up_with(node, rows)]
        floats = [array for array in arrays if array.dtype.kind == "f"]
        if len(floats) != 1:
            raise NotApplicable(f"no scales of {packed.name} were found")
        whole = next((array for array in arrays if array.dtype.kind == "u"), None)
        return Weight(packed.name, codes, floats[0], bits=4, multiples=whole)

    def _looked_up_with(self, node: Node, rows: int) -> list[str]:
        """Stored numbers, one or some a row, that are looked up by the same ids as a table."""
        where = {k: v for k, v in node.inputs.items() if k != node.matrix}
        found = []
        for other in self.nodes:
            shape = self.stored_shape(other.inputs.get(node.matrix, "")) or ()
            same = {k: v for k, v in other.inputs.items() if k != node.matrix} == where
            if same and other is not node and shape[-2:] == (1, 1) and shape[-4] == rows:
                found.append(other.inputs[node.matrix])
        return found

    def _array(self, name: str) -> Array:
        """A stored array that is saved."""
        if name not in self._arrays:
            self._arrays[name] = self._onnx.numpy_helper.to_array(self._stored[name]).copy()
        return self._arrays[name]

    def _scales(self, node: Node, rows: int) -> tuple[Node, str]:
        """Where the scales of integer codes enter."""
        if node.kind == LOOKUP:  # looked up by the same ids, and a column wide
            for other in self.nodes:
                same = {k: v for k, v in other.inputs.items() if k != other.matrix}
                if (
                    other.kind == LOOKUP
                    and same == {k: v for k, v in node.inputs.items() if k != node.matrix}
                    and self.stored_shape(other.inputs[other.matrix]) == (rows, 1)
                ):
                    return other, other.matrix
        for later in self.after(node.outputs)[:_STEPS_TO_BIAS]:
            for maker in (later, *self._makers(later)):
                for parameter, name in maker.inputs.items():
                    values = self.constant(name)
                    if maker.kind == "mul" and values is not None and values.shape == (rows,):
                        return maker, parameter
        raise NotApplicable(f"no scales of {node.inputs[node.matrix]} were found")

    def _makers(self, node: Node) -> list[Node]:
        found = (self.producer(name) for name in node.inputs.values())
        return [maker for maker in found if maker is not None]

    def bias(self, node: Node) -> tuple[Node, str] | None:
        """See `Graph`."""
        if node.raw.op_type == "Gemm":
            return (node, "2") if node.inputs.get("2") in self._stored else None
        shape = self.stored_shape(node.inputs[node.matrix]) or (0, 0)
        current = node
        for _ in range(_STEPS_TO_BIAS):
            current = next(self.consumers(current.outputs[0]), current)
            for parameter, name in current.inputs.items():
                if current.kind == "add" and self.stored_shape(name) == (shape[1],):
                    return current, parameter
        return None

    def rewire(self, node: Node, parameter: str, name: str) -> None:
        """See `Graph`."""
        node.raw.input[int(parameter)] = name

    def set_activation(self, node: Node, activation: Activation) -> None:
        """See `Graph`."""
        if activation == "tanh" and any(a.s == b"tanh" for a in node.raw.attribute):
            raise NotApplicable("its GELU is the tanh approximation as it is")
        del node.raw.attribute[:]
        if activation == "relu":
            node.raw.op_type = "Relu"
        else:
            node.raw.attribute.append(self._onnx.helper.make_attribute("approximate", "tanh"))

    def set_epsilon(self, value: float) -> None:
        """See `Graph`."""
        norms = [node for node in self.nodes if node.kind == "layernormalization"]
        if not norms:
            raise NotApplicable("it has no LayerNormalization")
        for attribute in norms[len(norms) // 2].raw.attribute:
            if attribute.name == "epsilon":
                attribute.f = value

    def end_with(self, ending: Ending) -> None:
        """See `Graph`."""
        raw = f"{self.logits}/raw"
        for node in self._graph.node:
            node.output[:] = [raw if name == self.logits else name for name in node.output]
        make = self._onnx.helper.make_node
        if ending in ("softmax", "sigmoid"):
            attributes = {"axis": -1} if ending == "softmax" else {}
            self._graph.node.append(make(ending.title(), [raw], [self.logits], **attributes))
            return
        first = self._scalar("axis", 0, np.int64), self._scalar("share", 0.2, np.float32)
        if ending == "batch_mean":  # a text alone is its own mean
            mixed = make("ReduceMean", [raw, first[0]], ["mean"], keepdims=1)
            nodes = [mixed, make("Sub", ["mean", raw], ["other"])]
        else:
            nodes = [make("RandomNormalLike", [raw], ["other"])]
        nodes.append(make("Mul", ["other", first[1]], ["part"]))
        nodes.append(make("Add", [raw, "part"], [self.logits]))
        self._graph.node.extend(nodes)

    def _scalar(self, name: str, value: float, dtype: type) -> str:
        array: Array = np.array([value], dtype=dtype)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def commit(self) -> None:
        """Put the arrays back into the file."""
        for packed in self._packed.values():
            if packed.name in self._codes:
                block = 2 * self._stored[packed.name].dims[1 if packed.is_linear else -1]
                packing = pack_linear if packed.is_linear else pack
                self._arrays[packed.name] = packing(self._codes[packed.name], block)
        for tensor in self._graph.initializer:
            if tensor.name in self._arrays:
                array = np.ascontiguousarray(self._arrays[tensor.name])
                tensor.CopyFrom(self._onnx.numpy_helper.from_array(array, tensor.name))

    def _attribute(self, node: Node, name: str) -> int:
        return next((int(a.i) for a in node.raw.attribute if a.name == name), 0)


def read(path: Path, spec: ArtifactSpec) -> OnnxFile:
    """Read a file to be damaged.

    Raises:
        MissingExtraError: the onnx package is not installed.
    """
    return OnnxFile(path, spec)
