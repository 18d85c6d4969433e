"""Peer: ExecuTorch with XNNPACK, dynamic int8 linears (PT2E), one program for every length.

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
    """Write model_int8.pte."""
    xnnpack: Any = import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    partitioner: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    exir: Any = import_module("executorch.exir")
    pt2e: Any = import_module("torchao.quantization.pt2e.quantize_pt2e")
    module = Classifier(request["checkpoint"]).eval()
    length = torch.export.Dim("length", min=2, max=request["max_length"])
    sample = torch.ones((1, request["max_length"]), dtype=torch.int64)
    example = (sample.clone(), sample.clone())
    shapes = ({1: length}, {1: length})
    graph: Any = torch.export.export(module, example, dynamic_shapes=shapes).module()
    quantizer = xnnpack.XNNPACKQuantizer().set_global(
        xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    )
    prepared = pt2e.prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        prepared(*example)
    small = pt2e.convert_pt2e(prepared)
    exported = torch.export.export(small, example, dynamic_shapes=shapes)
    program = exir.to_edge_transform_and_lower(
        exported,
        partitioner=[
            partitioner.XnnpackPartitioner(
                config_precisions=import_module(
                    "executorch.backends.xnnpack.partition.config.xnnpack_config"
                ).ConfigPrecisionType.DYNAMIC_QUANT,
                per_op_mode=True,
            ),
            partitioner.XnnpackPartitioner(),
        ],
    ).to_executorch()
    (Path(request["out"]) / "model_int8.pte").write_bytes(program.buffer)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
