"""Peer: Olive's `auto-opt`, which picks its passes itself, as its documentation calls it.

Its successor `optimize` does not take encoders.

python convert_olive.py '{"checkpoint": …, "out": …}'
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Write model_int8.onnx."""
    # Before it is imported: it sets its telemetry up before it looks at its arguments.
    os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
    launcher: Any = import_module("olive.cli.launcher")
    # It leaves a cache in the folder where it runs.
    with tempfile.TemporaryDirectory(prefix="olive_") as folder, contextlib.chdir(folder):
        command = ["auto-opt", "--model_name_or_path", request["checkpoint"]]
        command += ["--task", "text-classification", "--output_path", "made"]
        command += ["--device", "cpu", "--provider", "CPUExecutionProvider"]
        command += ["--precision", "int8"]
        launcher.main(command)
        shutil.move(Path("made", "model.onnx"), Path(request["out"], "model_int8.onnx"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
