"""Peer: ExecuTorch with XNNPACK, one program for every length: linears in int8 (PT2E), or in int4.

Activations are int8 and quantized as they come in both. int4 has a scale for every 32 weights, as
torchao's `Int8DynamicActivationIntxWeightConfig` writes it; embeddings stay in float32.

python convert_executorch.py '{"checkpoint": …, "out": …, "max_length": …}'
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

_MASKED = -1e4


class Classifier(torch.nn.Module):
    """The model with a mask that it accepts as it is: HF's own needs operators that are missing."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [1, labels], of int64 [1, length] each."""
        bias = (1.0 - attention_mask[:, None, None, :].float()) * _MASKED
        return torch.as_tensor(self.model(input_ids=input_ids, attention_mask=bias).logits)


def main(request: dict[str, Any]) -> None:
    """Write model_int8.pte and model_int4.pte."""
    out = Path(request["out"])
    length = torch.export.Dim("length", min=2, max=request["max_length"])
    sample = torch.ones((1, request["max_length"]), dtype=torch.int64)
    example = (sample.clone(), sample.clone())
    shapes = ({1: length}, {1: length})
    for name, quantized in (("model_int8.pte", in_int8), ("model_int4.pte", in_int4)):
        small = quantized(Classifier(request["checkpoint"]).eval(), example, shapes)
        exported = torch.export.export(small, example, dynamic_shapes=shapes)
        (out / name).write_bytes(lowered(exported))


def in_int8(module: torch.nn.Module, example: Any, shapes: Any) -> torch.nn.Module:
    """By XNNPACK's own quantizer, a scale per channel."""
    xnnpack: Any = import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    pt2e: Any = import_module("torchao.quantization.pt2e.quantize_pt2e")
    graph: Any = torch.export.export(module, example, dynamic_shapes=shapes).module()
    quantizer = xnnpack.XNNPACKQuantizer().set_global(
        xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    )
    prepared = pt2e.prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        prepared(*example)
    small: torch.nn.Module = pt2e.convert_pt2e(prepared)
    return small


def in_int4(module: torch.nn.Module, example: Any, shapes: Any) -> torch.nn.Module:
    """By torchao, a scale for every 32 weights."""
    del example, shapes
    int4: Any = getattr(torch, "int4")  # noqa: B009 - torch's stubs do not have it
    torchao: Any = import_module("torchao.quantization")
    granularity: Any = import_module("torchao.quantization.granularity")
    torchao.quantize_(
        module,
        torchao.Int8DynamicActivationIntxWeightConfig(
            weight_dtype=int4, weight_granularity=granularity.PerGroup(32)
        ),
    )
    return module


def lowered(exported: Any) -> bytes:
    """The program with all that XNNPACK takes."""
    partitioner: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    configuration: Any = import_module(
        "executorch.backends.xnnpack.partition.config.xnnpack_config"
    )
    exir: Any = import_module("executorch.exir")
    program = exir.to_edge_transform_and_lower(
        exported,
        partitioner=[
            partitioner.XnnpackPartitioner(
                config_precisions=configuration.ConfigPrecisionType.DYNAMIC_QUANT,
                per_op_mode=True,
            ),
            partitioner.XnnpackPartitioner(),
        ],
    ).to_executorch()
    return bytes(program.buffer)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
