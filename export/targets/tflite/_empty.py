"""Channels and blocks of zeros, to which the quantizer gives no scale that anything can use."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.targets.tflite._flatbuffer import add_buffer
from runtime.sessions.litert_file import type_name
from runtime.sessions.litert_weights import block_scales, codes_of, is_blockwise, packed_codes

# Smaller scales lose bits in float16; `export.rounding` makes such blocks zero as well.
SMALLEST_BLOCK_SCALE = 2.0**-16


def repair_empty_channels(model: Any) -> None:
    """Give a channel of zeros, or a block of zeros or of nearly that, the scale 1.

    OCTAV gives a channel of zeros the scale 0, as blocks get from float16, and the integers become
    0/0 cast to int8: garbage that differs between processors, and a scale that XNNPACK refuses.
    DistilBERT has such a row: [PAD]'s.
    """
    for graph in model.subgraphs:
        for tensor in list(graph.tensors):
            codes = codes_of(model, tensor)
            quantization = tensor.quantization
            if codes is None or quantization is None:
                continue
            if is_blockwise(tensor):
                _repair_blocks(model, graph, tensor, codes)
            elif quantization.scale is not None:
                scale = np.array(quantization.scale)
                empty = ~(np.isfinite(scale) & (scale > 0))
                if empty.any():
                    values = np.array(codes)
                    axis = int(quantization.quantizedDimension)
                    rows = np.moveaxis(values, axis, 0)
                    rows[empty if len(scale) > 1 else slice(None)] = 0
                    scale[empty] = 1.0
                    _store(model, tensor, values)
                    quantization.scale = scale


def _repair_blocks(model: Any, graph: Any, tensor: Any, codes: Any) -> None:
    stored = block_scales(model, graph, tensor)
    if stored is None:
        return
    empty = ~(np.isfinite(stored) & (stored >= SMALLEST_BLOCK_SCALE))
    if not empty.any():
        return
    values, scales = np.array(codes), np.array(stored)
    values.reshape(*scales.shape, -1)[empty] = 0
    scales[empty] = 1.0
    _store(model, tensor, values)
    graph.tensors[tensor.quantization.details.scales].buffer = add_buffer(model, scales)


def _store(model: Any, tensor: Any, codes: Any) -> None:
    raw = packed_codes(codes) if type_name(tensor) == "INT4" else codes.reshape(-1).view(np.uint8)
    tensor.buffer = add_buffer(model, raw)
