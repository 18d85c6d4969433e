"""Shows every tensor of an ONNX artifact, in onnxruntime, without the onnx package.

Every tensor is named as an output of the graph. Protobuf joins a message that is given twice, so
the file is not rewritten: a second graph, which holds only outputs, is put behind its last byte.
What is an output cannot be fused away, so that onnxruntime computes some steps otherwise than it
would: the caller must compare the logits with those of the file as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.sessions.base import Ids
from runtime.sessions.onnx_file import fields
from runtime.sessions.taps import Tap, Tapped

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_KIND = 1, 2, 3, 4
_TENSOR_DIMS, _TENSOR_NAME = 1, 8
_VALUE_NAME = 1

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    nodes: tuple[_Node, ...]
    sizes: dict[str, int]  # of stored tensors, in elements


class OnnxTaps:
    """An artifact with all of its tensors as outputs."""

    def __init__(self, path: Path, data: bytes, options: Any, output: str) -> None:
        """Load it.

        Args:
            path: of the artifact, for messages.
            data: of a file that onnxruntime has loaded already.
            options: onnxruntime's ``SessionOptions``.
            output: name of the logits.

        Raises:
            UserError: onnxruntime does not take the file with more outputs.
        """
        import onnxruntime

        self._graph = _read(data)
        self._output = output
        made = [name for node in self._graph.nodes for name in node.outputs if name]
        self._names = [output, *(name for name in made if name != output)]
        try:
            self._session = onnxruntime.InferenceSession(
                data + _outputs(self._names[1:]), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors share no other base class
            raise UserError(f"{path} cannot be run step by step", why=str(error)) from error

    def run(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """One text, int32 [1, length]."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        values = dict(zip(self._names, self._session.run(self._names, feed), strict=True))
        taps = []
        for node in self._graph.nodes:
            stored = {n: self._graph.sizes[n] for n in node.inputs if n in self._graph.sizes}
            inputs = tuple(n for n in node.inputs if n and n not in stored)
            outputs = {name: values[name] for name in node.outputs if name}
            if node.kind == "DynamicQuantizeLinear":
                outputs = _dequantized(outputs)
            moves = node.kind in _MOVES
            taps.append(Tap(node.name, node.kind, inputs, stored, outputs, moves))
        logits = np.asarray(values[self._output], dtype=np.float32)
        return Tapped(logits, self._output, tuple(taps))


def _dequantized(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The numbers that a quantized activation stands for, in its place."""
    (name, quantized), (_, scale), (_, zero) = outputs.items()
    values = (quantized.astype(np.float32) - np.float32(zero)) * scale
    return outputs | {name: values}


def _read(data: bytes) -> _Graph:
    nodes: list[_Node] = []
    sizes: dict[str, int] = {}
    for number, first, last in fields(data, 0, len(data)):
        if number != _MODEL_GRAPH:
            continue
        for part, start, end in fields(data, first, last):
            if part == _GRAPH_NODE:
                nodes.append(_node(data, start, end))
            elif part == _GRAPH_INITIALIZER:
                name, size = _stored(data, start, end)
                sizes[name] = size
    computed = []
    for node in nodes:
        if node.inputs and all(name in sizes for name in node.inputs):
            # A stored tensor in another form, such as integers cast to floats.
            sizes |= dict.fromkeys(node.outputs, max(sizes[name] for name in node.inputs))
        else:
            computed.append(node)
    return _Graph(tuple(computed), sizes)


def _node(data: bytes, start: int, end: int) -> _Node:
    texts: dict[int, list[str]] = {}
    for number, first, last in fields(data, start, end):
        if number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_KIND):
            texts.setdefault(number, []).append(data[first:last].decode())
    kind = texts.get(_NODE_KIND, [""])[0]
    outputs = tuple(texts.get(_NODE_OUTPUT, ()))
    name = texts.get(_NODE_NAME, [""])[0] or (outputs[0] if outputs else kind)
    return _Node(name, kind, tuple(texts.get(_NODE_INPUT, ())), outputs)


def _stored(data: bytes, start: int, end: int) -> tuple[str, int]:
    name, size = "", 1
    for number, first, last in fields(data, start, end):
        if number == _TENSOR_NAME:
            name = data[first:last].decode()
        elif number == _TENSOR_DIMS and first == last:
            size *= first
        elif number == _TENSOR_DIMS:  # packed
            size *= _product(data, first, last)
    return name, size


def _product(data: bytes, start: int, end: int) -> int:
    """The product of numbers of variable length."""
    product, value, shift = 1, 0, 0
    for byte in data[start:end]:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            product, value, shift = product * value, 0, 0
    return product


def _outputs(names: list[str]) -> bytes:
    """A second ``graph`` that holds these outputs and nothing else."""
    values = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in names)
    return _field(_MODEL_GRAPH, values)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
