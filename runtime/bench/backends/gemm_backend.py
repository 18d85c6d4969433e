"""One matrix product with onnxruntime: what the processor can do at most with a linear layer.

The values of a request's ids are not read; their length is the number of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


def load_library() -> None:
    """Import the runtime."""
    import onnxruntime  # noqa: F401


def open_model(settings: dict[str, Any]) -> Product:
    """Open ``settings["path"]``, a graph of `runtime.bench.gemm_model`."""
    return Product(settings["path"], settings["threads"])


class Product:
    """See `runtime.bench.worker.Model`; its "logits" are one number, the product's sum."""

    lengths: list[int] | None = None

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = threads
        # Its threads spin for 45 ms after a run (measured), on the core of whoever is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session: Any = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        (self._input,) = self._session.get_inputs()
        self.environment = {"runtime": "onnxruntime", "version": str(onnxruntime.__version__)}

    def feed(self, input_ids: Ids, attention_mask: Ids) -> dict[str, npt.NDArray[Any]]:
        """Seeded numbers, [rows, inner]; rows are the length of the ids."""
        del attention_mask
        rows, inner = input_ids.shape[1], self._input.shape[1]
        rng = np.random.default_rng(0)
        if self._input.type == "tensor(uint8)":
            return {"a": rng.integers(0, 256, (rows, inner), dtype=np.uint8)}
        return {"a": rng.standard_normal((rows, inner), dtype=np.float32)}

    def run(self, fed: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """The product's first number; the rest was computed all the same."""
        return np.asarray(self._session.run(None, fed)[0][:1, :1], dtype=np.float32)
