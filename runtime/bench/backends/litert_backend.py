"""TFLite files with LiteRT, one row at a time at the shortest length that holds it.

Its predecessors, tflite-runtime and TensorFlow, have the same interpreter under other names.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Row = tuple[int, dict[str, npt.NDArray[Any]]]

# Package → its module. The first that is installed runs.
_RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow-cpu": "tensorflow.lite.python.interpreter",
}


def load_library() -> None:
    """Import the runtime."""
    import_module(_RUNTIMES[_package()])


def open_model(settings: dict[str, Any]) -> LiteRtModel:
    """Open ``settings["path"]``; ``pad_id`` and ``pad_side`` are read, too.

    With ``settings["plain"]`` the runtime's own kernels run everything, and no delegate.
    """
    return LiteRtModel(
        settings["path"],
        settings["threads"],
        settings["pad_id"],
        settings["pad_side"],
        plain=settings.get("plain", False),
    )


def _package() -> str:
    for package, module in _RUNTIMES.items():
        if find_spec(module.partition(".")[0]) is not None:
            return package
    raise ImportError(f"none of {', '.join(_RUNTIMES)} is installed")


class LiteRtModel:
    """See `runtime.bench.worker.Model`; signatures are called ``seq_LENGTH``."""

    lengths: list[int] | None

    def __init__(
        self, path: str, threads: int, pad_id: int, pad_side: str, *, plain: bool = False
    ) -> None:
        package = _package()
        module: Any = import_module(_RUNTIMES[package])
        more = {}
        if plain:
            kind = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            more["experimental_op_resolver_type"] = kind
        self._interpreter: Any = module.Interpreter(model_path=path, num_threads=threads, **more)
        self._interpreter.allocate_tensors()
        names = self._interpreter.get_signature_list()
        self._runners = {
            int(name.removeprefix("seq_")): self._interpreter.get_signature_runner(name)
            for name in names
        }
        self.lengths = sorted(self._runners)
        self._dtypes = {
            name: details["dtype"]
            for name, details in self._runners[self.lengths[0]].get_input_details().items()
        }
        self._output = next(iter(self._runners[self.lengths[0]].get_output_details()))
        self._pad_id, self._left = pad_id, pad_side == "left"
        delegated = any(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())
        self.environment = {
            "runtime": package,
            "version": version(package),
            "delegate": "XNNPACK" if delegated else "none",
        }

    def feed(self, input_ids: Ids, attention_mask: Ids) -> list[Row]:
        """See `runtime.bench.worker.Model`.

        Raises:
            ValueError: longer than the file's longest signature.
        """
        length = next((n for n in self.lengths or () if n >= input_ids.shape[1]), None)
        if length is None:
            raise ValueError(f"the file's lengths are {self.lengths}, not {input_ids.shape[1]}")
        missing = length - input_ids.shape[1]
        along = (missing, 0) if self._left else (0, missing)
        rows = []
        for row, ids in enumerate(input_ids):  # Python 3.9 has no zip(strict=True)
            padded = {
                "input_ids": np.pad(ids, along, constant_values=self._pad_id)[None],
                "attention_mask": np.pad(attention_mask[row], along)[None],
            }
            rows.append((length, {n: padded[n].astype(d) for n, d in self._dtypes.items()}))
        return rows

    def run(self, fed: list[Row]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return np.concatenate(
            [self._runners[length](**inputs)[self._output] for length, inputs in fed]
        )
