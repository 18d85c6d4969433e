"""Shows every tensor of an ONNX artifact, in onnxruntime, without the onnx package.

Every tensor is named as an output of the graph. Protobuf joins a message that is given twice, so
the file is not rewritten: a second graph, which holds only outputs, is put behind its last byte.
What is an output cannot be fused away, so that onnxruntime computes some steps otherwise than it
would: the caller must compare the logits with those of the file as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.sessions.base import Ids
from runtime.sessions.onnx_graph import (
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    OnnxGraph,
    OnnxNode,
    read_graph,
)
from runtime.sessions.onnx_wire import field
from runtime.sessions.taps import Tap, Tapped

_VALUE_NAME = 1

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


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
            UserError: the file cannot be read, or onnxruntime does not take it with more outputs.
        """
        import onnxruntime

        self._nodes, self._sizes = _computed(read_graph(data, str(path)))
        self._output = output
        made = [name for node in self._nodes for name in node.outputs if name]
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
        for node in self._nodes:
            stored = {n: self._sizes[n] for n in node.inputs if n in self._sizes}
            inputs = tuple(n for n in node.inputs if n and n not in stored)
            outputs = {name: values[name] for name in node.outputs if name}
            if node.kind == "DynamicQuantizeLinear":
                outputs = _dequantized(outputs)
            moves = node.kind in _MOVES
            name = node.name or next(iter(node.outputs), node.kind)
            taps.append(Tap(name, node.kind, inputs, stored, outputs, moves))
        logits = np.asarray(values[self._output], dtype=np.float32)
        return Tapped(logits, self._output, tuple(taps))


def _dequantized(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The numbers that a quantized activation stands for, in its place."""
    (name, quantized), (_, scale), (_, zero) = outputs.items()
    values = (quantized.astype(np.float32) - np.float32(zero)) * scale
    return outputs | {name: values}


def _computed(graph: OnnxGraph) -> tuple[list[OnnxNode], dict[str, int]]:
    """Nodes that compute something anew in every run, and the elements of all else."""
    fixed = graph.fixed()
    return [node for node in graph.nodes if not set(node.outputs) <= set(fixed)], fixed


def _outputs(names: list[str]) -> bytes:
    """A second ``graph`` that holds these outputs and nothing else."""
    values = b"".join(field(GRAPH_OUTPUT, field(_VALUE_NAME, name.encode())) for name in names)
    return field(MODEL_GRAPH, values)
