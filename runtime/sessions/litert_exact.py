"""A TFLite file with the same graph and weights, in which no activation is quantized.

LiteRT quantizes the inputs of a product whose weights are int8 or int4. Stored in float32, the same
numbers make the same kernel's float sibling run: what is left is the graph. A look-up of quantized
embeddings multiplies each code by its scale and nothing else, so it stays as it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.sessions.litert_file import (
    load,
    operator_name,
    save,
    schema,
    text,
    type_name,
)
from runtime.sessions.litert_weights import block_scales, dense, is_blockwise, is_known

_NOT_QUANTIZED = ("FLOAT32", "INT32", "INT64", "BOOL")
_WEIGHT = 1  # place among the inputs of both operators
_PRODUCT, _LOOKUP = "FULLY_CONNECTED", "EMBEDDING_LOOKUP"


def write_exact(path: Path, destination: Path) -> bool:
    """Write a copy of a file whose products have float32 weights.

    Args:
        path: of a file that the runtime has loaded already: its verifier has seen it.
        destination: where to write.

    Returns:
        False, and nothing written, if no product of the file has quantized weights.

    Raises:
        MissingExtraError: the schema is not installed.
        UserError: something is quantized in a way that is not known here.
    """
    model = load(path)
    codes = [operator_name(code) for code in model.operatorCodes]
    rewriter = _Rewriter(model)
    for graph in model.subgraphs:
        for operator in graph.operators:
            quantized = [
                int(index)
                for index in (*operator.inputs, *operator.outputs)
                if index >= 0 and type_name(graph.tensors[index]) not in _NOT_QUANTIZED
            ]
            kind = codes[operator.opcodeIndex]
            weight = operator.inputs[_WEIGHT] if kind in (_PRODUCT, _LOOKUP) else None
            if quantized and (
                quantized != [weight] or not is_known(model, graph, graph.tensors[weight])
            ):
                raise UserError(
                    f"{path.name} cannot be run in float32",
                    why=f"{kind} with {type_name(graph.tensors[quantized[0]]).lower()} in "
                    f"{text(graph.tensors[quantized[0]].name)} is not known",
                )
            if quantized and kind == _PRODUCT:
                rewriter.expand(graph, quantized[0])
    if rewriter.changed:
        save(model, destination)
    return rewriter.changed


class _Rewriter:
    """Stores each weight in float32 once, whichever signatures use it."""

    def __init__(self, model: Any) -> None:
        self.changed = False
        self._model = model
        self._made: dict[tuple[int, bytes], int] = {}

    def expand(self, graph: Any, index: int) -> None:
        """Store a weight in float32; it has codes and scales."""
        tensor = graph.tensors[index]
        key = (int(tensor.buffer), _scales_digest(self._model, graph, tensor))
        if key not in self._made:
            buffer = schema().BufferT()
            buffer.data = dense(self._model, graph, tensor).reshape(-1).view(np.uint8)
            self._model.buffers.append(buffer)
            self._made[key] = len(self._model.buffers) - 1
        tensor.buffer = self._made[key]
        tensor.type, tensor.quantization = schema().TensorType.FLOAT32, None
        self.changed = True


def _scales_digest(model: Any, graph: Any, tensor: Any) -> bytes:
    """Stands for all that says what a tensor's codes mean."""
    quantization = tensor.quantization
    parts = [quantization.scale, quantization.zeroPoint, quantization.quantizedDimension]
    if is_blockwise(tensor):
        parts += [block_scales(model, graph, tensor), quantization.details.blockSize]
    content = b"|".join(np.asarray(part).tobytes() for part in (*parts, tensor.type, tensor.shape))
    return hashlib.sha256(content).digest()
