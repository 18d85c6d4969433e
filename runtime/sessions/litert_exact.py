"""A TFLite file with the same graph and weights, in which no activation is quantized.

LiteRT quantizes the inputs of a product whose weights are int8. Stored in float32, the same numbers
make the same kernel's float sibling run: what is left is the graph. An embedding look-up in int8
multiplies each code by its scale and nothing else, so it stays as it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import numpy as np

from runtime.errors import UserError
from runtime.sessions.litert_file import (
    Array,
    load,
    operator_name,
    save,
    schema,
    text,
    type_name,
    values_of,
)

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
            if quantized and (quantized != [weight] or not _is_affine(model, graph, weight)):
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


def dequantized(quantization: Any, codes: Array) -> Array:
    """What int8 codes stand for: float32 of the codes' shape.

    Args:
        quantization: ``QuantizationParametersT``: scales and zero points, one or one for each entry
            of an axis.
        codes: the tensor's values.
    """
    scale = np.asarray(quantization.scale, dtype=np.float32)
    zero = np.zeros_like(scale)
    if quantization.zeroPoint is not None:
        zero = np.broadcast_to(np.asarray(quantization.zeroPoint, np.float32), scale.shape)
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[int(quantization.quantizedDimension)] = scale.size
    values = codes.astype(np.float32)
    values -= zero.reshape(shape)
    values *= scale.reshape(shape)
    return values


class _Rewriter:
    """Stores each weight in float32 once, whichever signatures use it."""

    def __init__(self, model: Any) -> None:
        self.changed = False
        self._model = model
        self._made: dict[tuple[int, bytes], int] = {}

    def expand(self, graph: Any, index: int) -> None:
        """Store a weight in float32; it is int8 with scales."""
        tensor = graph.tensors[index]
        codes = cast("Array", values_of(self._model, tensor))
        quantization = tensor.quantization
        parts = (quantization.scale, quantization.zeroPoint, quantization.quantizedDimension)
        content = b"|".join(np.asarray(part).tobytes() for part in (*parts, tensor.shape))
        key = (int(tensor.buffer), hashlib.sha256(content).digest())
        if key not in self._made:
            buffer = schema().BufferT()
            buffer.data = dequantized(quantization, codes).reshape(-1).view(np.uint8)
            self._model.buffers.append(buffer)
            self._made[key] = len(self._model.buffers) - 1
        tensor.buffer = self._made[key]
        tensor.type, tensor.quantization = schema().TensorType.FLOAT32, None
        self.changed = True


def _is_affine(model: Any, graph: Any, index: int | None) -> bool:
    """Whether a tensor is stored int8 with scales that fit its shape."""
    tensor = graph.tensors[index]
    codes, quantization = values_of(model, tensor), tensor.quantization
    if codes is None or codes.dtype != np.int8 or quantization is None:
        return False
    if quantization.scale is None or len(quantization.scale) == 0 or quantization.details:
        return False
    count, axis = len(quantization.scale), int(quantization.quantizedDimension)
    zeros = quantization.zeroPoint
    fits = count == 1 or (0 <= axis < codes.ndim and codes.shape[axis] == count)
    return fits and (zeros is None or len(zeros) in (1, count))
