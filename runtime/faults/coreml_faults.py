"""Core ML packages as graphs that can be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import Operation, TensorType, Value
from runtime.coreml_reference.weight_codes import Link, chain_of, link_of
from runtime.coreml_reference.weights import StoredWeight
from runtime.faults.coreml_file import EditablePackage, attribute
from runtime.faults.coreml_messages import missing
from runtime.faults.graph import (
    ATTENTION,
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

FORMAT = "coreml"

_KINDS = {
    "linear": LINEAR,
    "conv": LINEAR,
    "matmul": PRODUCT,
    "einsum": PRODUCT,
    "softmax": SOFTMAX,
    "gelu": GELU,
    "scaled_dot_product_attention": ATTENTION,
}
_LOOKUPS = {"gather": "x", "slice_by_index": "x", "slice_by_size": "x"}
# Codes that are read row by row; all other compressed weights become dense before they are changed.
_AFFINE = {
    "constexpr_affine_dequantize": ("quantized_data", "zero_point"),
    "constexpr_blockwise_shift_scale": ("data", "offset"),
}
_WHOLE_BYTES = ("int8", "uint8")
_LARGEST_READ = 4096


def available() -> str | None:
    """None, or one line that names the install command."""
    error = missing()
    return None if error is None else str(error)


def read(path: Path, spec: ArtifactSpec) -> CoremlPackage:
    """Read a package to be damaged.

    Raises:
        MissingExtraError: protobuf is not installed.
    """
    return CoremlPackage(path, spec)


class CoremlPackage:
    """A package that is edited and saved elsewhere; see `runtime.faults.Artifact`."""

    def __init__(self, path: Path, spec: ArtifactSpec) -> None:
        """Read a package."""
        package = read_package(path)
        self._files = EditablePackage(path, package.function.opset)
        operations = package.function.operations
        self.graphs = (CoremlGraph(self._files, operations, logits_name(spec)),)

    def save(self, path: Path) -> None:
        """Write the package; its folder must not exist."""
        self._files.save(path)


class CoremlGraph(Graph):
    """The only graph of a package."""

    def __init__(
        self, files: EditablePackage, operations: tuple[Operation, ...], logits: str
    ) -> None:
        self._files = files
        self.ids, self.mask, self.logits = "input_ids", "attention_mask", logits
        self._links: dict[str, Link] = {}
        self._raw: dict[str, Any] = {}
        self._inline: dict[str, Value] = {}
        self._arrays: dict[str, Array] = {}
        nodes: list[Node] = []
        for operation, raw in zip(operations, files.block.operations, strict=True):
            if operation.kind == "const" or operation.kind.startswith("constexpr_"):
                link = link_of(operation, self._links)
                for output in operation.outputs:
                    self._links[output.name], self._raw[output.name] = link, raw
            else:
                nodes.append(self._node(len(nodes), operation, raw))
        self.nodes = tuple(nodes)

    def _node(self, order: int, operation: Operation, raw: Any) -> Node:
        inputs = {}
        for parameter, arguments in operation.inputs.items():
            for i, argument in enumerate(arguments):
                key = parameter if len(arguments) == 1 else f"{parameter}.{i}"
                if isinstance(argument, Value):
                    name = f"{operation.name}/{key}"
                    self._inline[name] = argument
                    inputs[key] = name
                else:
                    inputs[key] = argument
        # What is computed with comes before the settings.
        inputs = dict(sorted(inputs.items(), key=lambda i: i[0][:6] not in ("x", "y", "values")))
        kind, matrix = _KINDS.get(operation.kind, operation.kind), ""
        if kind == LINEAR:
            matrix = "weight"
        elif operation.kind in _LOOKUPS:
            parameter = _LOOKUPS[operation.kind]
            if len(self.stored_shape(inputs[parameter]) or ()) == 2:
                kind, matrix = LOOKUP, parameter
        outputs = tuple(output.name for output in operation.outputs)
        return Node(order, kind, inputs, outputs, raw, matrix)

    def constant(self, name: str) -> Array | None:
        """See `Graph`."""
        if name in self._arrays:
            return self._arrays[name]
        value = self._inline.get(name)
        if name in self._links and self._links[name].operation.kind == "const":
            value = self._links[name].values["val"]
        shape = self.stored_shape(name)
        if value is None or shape is None or np.prod(shape) > _LARGEST_READ:
            return None
        return np.asarray(value.load())

    def stored_shape(self, name: str) -> tuple[int, ...] | None:
        """See `Graph`."""
        if name in self._inline:
            kind = self._inline[name].type
        elif name in self._links:
            kind = next(o.type for o in self._links[name].operation.outputs if o.name == name)
        else:
            return None
        if not isinstance(kind, TensorType):
            return None
        return tuple(axis or 0 for axis in kind.shape)

    def own(self, node: Node, parameter: str) -> Array:
        """See `Graph`."""
        name = self._private(node, parameter)
        if name not in self._arrays:
            raw, dtype = self._raw[name], self._dtype(name)
            if raw.type == "const":
                self._arrays[name] = np.array(self._links[name].values["val"].load())
                self._files.keep(attribute(raw, "val"), dtype, self._arrays[name])
            else:
                self._arrays[name] = self._dense(name)
                self._files.make_constant(raw, dtype, self._arrays[name])
        return self._arrays[name]

    def _private(self, node: Node, parameter: str) -> str:
        """Name of a constant that only this node reads; copied where others read it too."""
        argument = self._argument(node, parameter)
        name = str(argument.name)
        if name not in self._raw:
            raise NotApplicable(f"{name} is no constant of its own")
        if sum(name in other.inputs.values() for other in self.nodes) < 2:
            return name
        if self._raw[name].type != "const":
            raise NotApplicable(f"{name} is compressed and used twice")
        copy = self._files.block.operations.add()
        copy.CopyFrom(self._raw[name])
        own = f"{name}/own{node.order}".replace("/", "_")
        copy.outputs[0].name = argument.name = own
        kept = [type(e).FromString(e.SerializeToString()) for e in copy.attributes]
        del copy.attributes[:]
        copy.attributes.extend(entry for entry in kept if entry.key != "name")
        self._raw[own], self._links[own] = copy, self._links[name]
        return own

    def _argument(self, node: Node, parameter: str) -> Any:
        name, _, place = parameter.partition(".")
        entry = next(entry for entry in node.raw.inputs if entry.key == name)
        return entry.value.arguments[int(place or 0)]

    def _dtype(self, name: str) -> str:
        kind = self._links[name].operation.outputs[0].type
        if not isinstance(kind, TensorType):
            raise NotApplicable(f"{name} is no tensor")
        return kind.dtype

    def _dense(self, name: str) -> Array:
        link = self._links[name]
        shape = self.stored_shape(name) or ()
        chain = tuple(chain_of(link, self._links))
        weight = StoredWeight(name, shape, "", "", 0, 0.0, 0.0, link.operation.kind, chain)
        return weight.dense("f32").copy()

    def weight(self, node: Node, parameter: str = "") -> Weight:
        """See `Graph`; codes keep their scales."""
        name = self._private(node, parameter or node.matrix)
        codes = self._codes(name)
        if codes is not None:
            return codes
        values = self.own(node, parameter or node.matrix)
        return Weight(name, values.reshape(len(values), -1))

    def _codes(self, name: str) -> Weight | None:
        """A weight of whole-byte codes with a scale for each row; None for any other."""
        link = self._links[name]
        if link.operation.kind not in _AFFINE or link.sources:
            return None
        parameters = (_AFFINE[link.operation.kind][0], "scale", _AFFINE[link.operation.kind][1])
        shapes = [link.shape(p) if p in link.values else () for p in parameters]
        rows = shapes[0][0]
        types = [link.values[p].type for p in parameters if p in link.values]
        axis = int(link.load("axis")) if "axis" in link.values else 0
        if axis or any(int(np.prod(shape)) not in (1, rows) for shape in shapes[1:]):
            return None
        if any(not isinstance(t, TensorType) for t in types) or types[0].dtype not in _WHOLE_BYTES:  # type: ignore[union-attr]
            return None
        arrays = [self._cell(name, p) if p in link.values else np.array(0) for p in parameters]
        zeros = arrays[2].reshape(-1, 1) if arrays[2].size > 1 else arrays[2]
        return Weight(name, arrays[0].reshape(rows, -1), arrays[1].reshape(-1), zeros)

    def _cell(self, name: str, parameter: str) -> Array:
        """One of the constants that a compressed weight is made of, to be changed."""
        link, raw, key = self._links[name], self._raw[name], f"{name}/{parameter}"
        if key not in self._arrays:
            kind = link.values[parameter].type
            value = next((e.value for e in raw.attributes if e.key == parameter), None)
            if value is None:
                entry = next(entry for entry in raw.inputs if entry.key == parameter)
                source = entry.value.arguments[0]
                named = source.HasField("name")
                value = attribute(self._raw[source.name], "val") if named else source.value
            self._arrays[key] = np.array(link.load(parameter))
            dtype = kind.dtype if isinstance(kind, TensorType) else ""
            self._files.keep(value, dtype, self._arrays[key])
        return self._arrays[key]

    def bias(self, node: Node) -> tuple[Node, str] | None:
        """See `Graph`."""
        return (node, "bias") if "bias" in node.inputs else None

    def rewire(self, node: Node, parameter: str, name: str) -> None:
        """See `Graph`."""
        self._argument(node, parameter).name = name

    def set_activation(self, node: Node, activation: Activation) -> None:
        """See `Graph`."""
        if activation == "relu":
            node.raw.type = "relu"
            kept = [entry for entry in node.raw.inputs if entry.key == "x"]
            copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
            del node.raw.inputs[:]
            node.raw.inputs.extend(copies)
            return
        mode = attribute(self._raw[node.inputs["mode"]], "val")
        mode.immediateValue.tensor.strings.values[0] = "TANH_APPROXIMATION"

    def set_epsilon(self, value: float) -> None:
        """See `Graph`."""
        norms = [node for node in self.nodes if node.kind == "layer_norm"]
        if norms:
            self.own(norms[len(norms) // 2], "epsilon")[...] = value
            return
        roots = [node for node in self.nodes if node.kind in ("sqrt", "rsqrt")]
        for root in roots[len(roots) // 2 :]:
            adding = self.producer(root.inputs["x"])
            if adding is not None and adding.kind == "add":
                for parameter, name in adding.inputs.items():
                    if self.stored_shape(name) == ():
                        self.own(adding, parameter)[...] = value
                        return
        raise NotApplicable("no epsilon of a LayerNorm was found")

    def end_with(self, ending: Ending) -> None:
        """See `Graph`."""
        if ending == "batch_mean":
            raise NotApplicable("it takes one text at a time, so there is no batch")
        if ending == "noise":
            raise NotApplicable("the reference executor has no random operation, so it refuses it")
        operations = self._files.block.operations
        last = self.producer(self.logits)
        if last is None:
            raise NotApplicable("its logits are computed by no operation")
        raw = f"{self.logits}_raw"
        for node in self.consumers(self.logits):
            for parameter, name in node.inputs.items():
                if name == self.logits:
                    self.rewire(node, parameter, raw)
        output = next(o for o in last.raw.outputs if o.name == self.logits)
        added = operations.add(type=ending)
        added.outputs.add().CopyFrom(output)
        output.name = raw
        added.inputs.add(key="x").value.arguments.add().name = raw
        if ending == "softmax":
            axis = operations.add(type="const")
            axis.outputs.add(name=f"{raw}_axis").type.tensorType.dataType = 23  # int32
            value = axis.attributes.add(key="val").value
            value.type.CopyFrom(axis.outputs[0].type)
            value.immediateValue.tensor.ints.values.append(-1)
            added.inputs.add(key="axis").value.arguments.add().name = f"{raw}_axis"

    def reverse_classes(self) -> None:
        """See `Graph`."""
        for node in self.nodes:
            if node.kind == "classify":
                argument = self._argument(node, "classes")
                value = argument.value
                if argument.HasField("name"):
                    value = attribute(self._raw[argument.name], "val")
                held = value.immediateValue.list.values
                copies = [type(v).FromString(v.SerializeToString()) for v in held][::-1]
                del held[:]
                held.extend(copies)
                return
        super().reverse_classes()
