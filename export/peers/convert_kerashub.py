"""Peer: KerasHub's DistilBERT with the checkpoint's weights, exported by Keras to LiteRT.

KerasHub reads the encoder of a Transformers folder; the head's four tensors are set by hand. One
file takes every length.

python convert_kerashub.py '{"checkpoint": …, "out": …}'
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Write model.tflite and model_int8.tflite."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    models: Any = import_module("keras_hub.models")
    lite: Any = import_module("tensorflow").lite
    safetensors: Any = import_module("safetensors.numpy")
    checkpoint, out = Path(request["checkpoint"]), Path(request["out"])
    weights = safetensors.load_file(checkpoint / "model.safetensors")
    backbone = models.DistilBertBackbone.from_preset(str(checkpoint))
    classifier = models.DistilBertTextClassifier(
        backbone=backbone, num_classes=len(weights["classifier.bias"])
    )
    for layer, name in (
        (classifier.pooled_dense, "pre_classifier"),
        (classifier.output_dense, "classifier"),
    ):
        layer.set_weights([weights[f"{name}.weight"].T, weights[f"{name}.bias"]])
    classifier.export(str(out / "model.tflite"), format="litert")
    # Dynamic range: int8 weights, activations quantized as they come.
    classifier.export(
        str(out / "model_int8.tflite"), format="litert", optimizations=[lite.Optimize.DEFAULT]
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
