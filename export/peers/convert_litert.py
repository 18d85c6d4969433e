"""Peer: litert-torch and ai-edge-quantizer as their documentation uses them, with HF's own mask.

python convert_litert.py '{"checkpoint": …, "out": …, "lengths": […]}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification


class Classifier(torch.nn.Module):
    """The model with its logits as a named output."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Logits, float32 [1, labels], of int32 [1, length] each."""
        return {"logits": self.model(input_ids=input_ids, attention_mask=attention_mask).logits}


def main(request: dict[str, Any]) -> None:
    """Write model.tflite and model_int8.tflite."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    out = Path(request["out"])
    module = Classifier(request["checkpoint"]).eval()
    converter: Any = litert_torch.Converter()
    for length in request["lengths"]:
        # Two tensor objects: one for both inputs would become one input.
        sample = {
            "input_ids": torch.zeros((1, length), dtype=torch.int32),
            "attention_mask": torch.ones((1, length), dtype=torch.int32),
        }
        converter.add_signature(f"seq_{length}", module, sample_kwargs=sample)
    converter.convert().export(str(out / "model.tflite"))
    quantizing: Any = quantizer.Quantizer(str(out / "model.tflite"))
    quantizing.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    quantizing.quantize().export_model(str(out / "model_int8.tflite"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
