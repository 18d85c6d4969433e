"""Peer: PyTorch's own dynamic int8; written only to know its size.

python convert_torch.py '{"checkpoint": …, "out": …}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification


def main(request: dict[str, Any]) -> None:
    """Write model_int8.pt, the state that a program would ship beside its code."""
    model = AutoModelForSequenceClassification.from_pretrained(request["checkpoint"]).eval()
    quantization: Any = torch.ao.quantization
    small = quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    torch.save(small.state_dict(), Path(request["out"]) / "model_int8.pt")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
