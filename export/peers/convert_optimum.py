"""Peer: optimum-onnx, float32 and dynamic int8, as its documentation does it.

python convert_optimum.py '{"checkpoint": …, "out": …, "features": […], "architecture": …}'
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Write model.onnx and model_int8.onnx."""
    # Any of these may be missing where this file is only read (by a type checker, say).
    exporters: Any = import_module("optimum.exporters.onnx")
    optimum: Any = import_module("optimum.onnxruntime")
    configuration: Any = import_module("optimum.onnxruntime.configuration")
    out = Path(request["out"])
    exporters.main_export(
        request["checkpoint"], output=str(out), task="text-classification", device="cpu"
    )
    recipe = isa_recipe(request["architecture"], request["features"])
    config = getattr(configuration.AutoQuantizationConfig, recipe)(
        is_static=False, per_channel=False
    )
    quantizer = optimum.ORTQuantizer.from_pretrained(str(out))
    quantizer.quantize(save_dir=str(out), quantization_config=config, file_suffix="int8")


def isa_recipe(architecture: str, features: list[str]) -> str:
    """The preset that optimum has for a processor."""
    if architecture == "arm64":
        return "arm64"
    return "avx512_vnni" if "avx512_vnni" in features else "avx2"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
