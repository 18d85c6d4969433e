"""Runs OpenVINO files on the processor, in float32 where they are float."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


def load_library() -> None:
    """Import the runtime."""
    import_module("openvino")


def open_model(settings: dict[str, Any]) -> OpenVinoModel:
    """Open ``settings["path"]`` with ``settings["threads"]``."""
    return OpenVinoModel(settings["path"], settings["threads"])


class OpenVinoModel:
    """See `runtime.bench.worker.Model`."""

    lengths: list[int] | None = None

    def __init__(self, path: str, threads: int) -> None:
        openvino: Any = import_module("openvino")
        # bfloat16 is its default where the processor has it, and would be another model.
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            # It would stay on a core that another program uses, while everyone else moves.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(path, "CPU", options)
        self._request = compiled.create_infer_request()
        self._names = {one.get_any_name() for one in compiled.inputs}
        self.environment = {
            "runtime": "openvino",
            "version": str(openvino.__version__).partition("-")[0],
            "precision": "f32",
        }

    def feed(self, input_ids: Ids, attention_mask: Ids) -> dict[str, npt.NDArray[np.int64]]:
        """See `runtime.bench.worker.Model`."""
        every = {
            "input_ids": input_ids.astype(np.int64),
            "attention_mask": attention_mask.astype(np.int64),
            "token_type_ids": np.zeros(input_ids.shape, np.int64),
        }
        return {name: value for name, value in every.items() if name in self._names}

    def run(self, fed: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return np.asarray(next(iter(self._request.infer(fed).values()))).copy()
