"""Shows every tensor of a TFLite file as the XNNPACK delegate computes it.

``experimental_preserve_all_tensors`` shows nothing of what a delegate does, and without the
delegate int8 files compute something else. So every tensor is named as an output of its subgraph: a
new list of outputs is put behind the file's last byte, and the one reference to the old list is
changed. The delegate must then write them; the caller compares the logits with those of the file as
it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.sessions.base import Ids
from runtime.sessions.litert_file import builtin_name, schema, text
from runtime.sessions.taps import Tap, Tapped

# Place of the field ``outputs`` in a subgraph's table (schema.fbs).
_SUBGRAPH_OUTPUTS = 8
_ALIGNMENT = 16

_MOVES = {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"}


class LiteRtTaps:
    """One signature of a file, with all of its tensors as outputs."""

    def __init__(self, path: Path, length: int, threads: int, output: str) -> None:
        """Load it.

        Args:
            path: of a file that the runtime has loaded already: its verifier has seen it.
            length: of the signature.
            threads: of the runtime.
            output: name of the logits.

        Raises:
            MissingExtraError: ai-edge-litert is not installed.
            UserError: the runtime does not take the file with more outputs.
        """
        classes = schema()
        from ai_edge_litert.interpreter import Interpreter

        data = bytearray(path.read_bytes())
        model = classes.Model.GetRootAs(data, 0)
        key = f"seq_{length}"
        signature = _signature(model, key)
        self._index = int(signature.SubgraphIndex())
        self._graph = model.Subgraphs(self._index)
        self._model, self._output = model, output
        self._names = _names(self._graph)
        self._tensor = self._names[_output_index(signature, output)]
        made = [i for operator in _operators(self._graph) for i in operator[2]]
        tapped = _with_outputs(data, self._graph, made)
        try:
            self._interpreter: Any = Interpreter(model_content=tapped, num_threads=threads)
            self._runner = self._interpreter.get_signature_runner(key)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path} cannot be run step by step", why=str(error)) from error

    def run(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """One text, int32 [1, length]."""
        logits = self._runner(input_ids=input_ids, attention_mask=attention_mask)[self._output]
        stored = _stored(self._model, self._graph)
        taps = []
        for kind, inputs, outputs in _operators(self._graph):
            names = [self._names[i] for i in outputs]
            name = _operator_name(self._model, kind)
            taps.append(
                Tap(
                    name=names[0],
                    kind=name,
                    inputs=tuple(self._names[i] for i in inputs if i not in stored),
                    parameters={self._names[i]: stored[i] for i in inputs if i in stored},
                    outputs={
                        n: np.array(self._interpreter.get_tensor(i, self._index))
                        for n, i in zip(names, outputs, strict=True)
                    },
                    moves=name in _MOVES,
                )
            )
        return Tapped(np.asarray(logits, dtype=np.float32), self._tensor, tuple(taps))


def _signature(model: Any, key: str) -> Any:
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        if text(signature.SignatureKey()) == key:
            return signature
    raise UserError(f"the file has no signature {key}")


def _output_index(signature: Any, name: str) -> int:
    for i in range(signature.OutputsLength()):
        output = signature.Outputs(i)
        if text(output.Name()) == name:
            return int(output.TensorIndex())
    raise UserError(f"the file has no output {name}")


def _names(graph: Any) -> list[str]:
    """A name for each tensor; the format lets two have the same one."""
    names: list[str] = []
    for i in range(graph.TensorsLength()):
        name = text(graph.Tensors(i).Name())
        names.append(f"{name}#{i}" if not name or name in names else name)
    return names


def _operators(graph: Any) -> list[tuple[int, list[int], list[int]]]:
    """(operator code, inputs, outputs) in order; inputs that are left out are -1 in the file."""
    found = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        inputs = [operator.Inputs(j) for j in range(operator.InputsLength())]
        outputs = [operator.Outputs(j) for j in range(operator.OutputsLength())]
        found.append((operator.OpcodeIndex(), [j for j in inputs if j >= 0], outputs))
    return found


def _stored(model: Any, graph: Any) -> dict[int, int]:
    """Tensor that is stored in the file → its elements."""
    sizes = {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength() or buffer.Size():
            shape = [tensor.Shape(j) for j in range(tensor.ShapeLength())]
            sizes[i] = int(np.prod(shape, dtype=np.int64))
    return sizes


def _operator_name(model: Any, index: int) -> str:
    code = model.OperatorCodes(index)
    return builtin_name(code.BuiltinCode(), code.DeprecatedBuiltinCode())


def _with_outputs(data: bytearray, graph: Any, made: list[int]) -> bytes:
    """The file with further outputs of one subgraph, behind those that it has."""
    known = [graph.Outputs(i) for i in range(graph.OutputsLength())]
    outputs = list(dict.fromkeys([*known, *made]))
    data += bytes(-len(data) % _ALIGNMENT)
    place = len(data)
    data += np.array([len(outputs), *outputs], "<i4").tobytes()
    data += bytes(-len(data) % _ALIGNMENT)
    table = graph._tab
    reference = table.Pos + table.Offset(_SUBGRAPH_OUTPUTS)
    data[reference : reference + 4] = np.array([place - reference], "<u4").tobytes()
    return bytes(data)
