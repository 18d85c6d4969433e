"""Runs ExecuTorch programs one row at a time."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int32]
Row = tuple[torch.Tensor, torch.Tensor]


def load_library() -> None:
    """Import the runtime and its kernels."""
    import_module("executorch.extension.pybindings.portable_lib")


def open_model(settings: dict[str, Any]) -> ExecuTorchModel:
    """Open ``settings["path"]`` with ``settings["threads"]``."""
    return ExecuTorchModel(settings["path"], settings["threads"])


class ExecuTorchModel:
    """See `runtime.bench.worker.Model`."""

    lengths: list[int] | None = None

    def __init__(self, path: str, threads: int) -> None:
        library: Any = import_module("executorch.extension.pybindings.portable_lib")
        if hasattr(library, "_threadpool_get_thread_count"):
            library._unsafe_reset_threadpool(threads)
        self._module = library._load_for_executorch(path)
        self.environment = {
            "runtime": "executorch",
            "version": version("executorch"),
            "threads": str(library._threadpool_get_thread_count())
            if hasattr(library, "_threadpool_get_thread_count")
            else "unknown",
        }

    def feed(self, input_ids: Ids, attention_mask: Ids) -> list[Row]:
        """See `runtime.bench.worker.Model`."""
        return [
            (torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(mask.astype(np.int64)))
            for ids, mask in zip(input_ids[:, None], attention_mask[:, None], strict=True)
        ]

    def run(self, fed: list[Row]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return np.concatenate([self._module.forward(row)[0].numpy().copy() for row in fed])
