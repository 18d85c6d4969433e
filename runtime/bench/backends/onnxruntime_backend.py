"""ONNX files with onnxruntime on the processor, opened as `runtime.sessions` opens them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
_DTYPES = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}


def load_library() -> None:
    """Import the runtime."""
    import onnxruntime  # noqa: F401


def open_model(settings: dict[str, Any]) -> OnnxModel:
    """Open ``settings["path"]`` with ``settings["threads"]``."""
    return OnnxModel(settings["path"], settings["threads"])


class OnnxModel:
    """See `runtime.bench.worker.Model`."""

    lengths: list[int] | None = None

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = threads
        # Its threads spin for 45 ms after a run (measured), on the core of whoever is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        # Exporters differ in the integers they ask for and in inputs that DistilBERT has not.
        self._inputs = {i.name: _DTYPES[i.type] for i in self._session.get_inputs()}
        outputs = [output.name for output in self._session.get_outputs()]
        self._outputs = ["logits"] if "logits" in outputs else outputs[:1]
        self.environment = {"runtime": "onnxruntime", "version": str(onnxruntime.__version__)}

    def feed(self, input_ids: Ids, attention_mask: Ids) -> dict[str, npt.NDArray[Any]]:
        """See `runtime.bench.worker.Model`."""
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": np.zeros_like(input_ids),
        }
        return {name: given[name].astype(dtype) for name, dtype in self._inputs.items()}

    def run(self, fed: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return np.asarray(self._session.run(self._outputs, fed)[0])
