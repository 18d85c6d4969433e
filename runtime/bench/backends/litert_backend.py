"""TFLite files with LiteRT, one row at a time at the shortest length that holds it.

A file of one signature takes a batch as it is, of any length.

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

_PREFIX = "seq_"
# Any length, for want of a number.
_ANY = 0
# KerasHub's names.
_OTHER_NAMES = {"token_ids": "input_ids", "padding_mask": "attention_mask"}

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


def _length(signature: str) -> int:
    return int(signature.removeprefix(_PREFIX)) if signature.startswith(_PREFIX) else _ANY


class LiteRtModel:
    """See `runtime.bench.worker.Model`; signatures are called ``seq_LENGTH``, or there is one."""

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
            _length(name): self._interpreter.get_signature_runner(name) for name in names
        }
        self.lengths = None if _ANY in self._runners else sorted(self._runners)
        first = next(iter(self._runners.values()))
        self._dtypes = {
            name: details["dtype"] for name, details in first.get_input_details().items()
        }
        self._output = next(iter(first.get_output_details()))
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
        if self.lengths is None:
            return [(_ANY, self._named(input_ids, attention_mask))]
        length = next((n for n in self.lengths if n >= input_ids.shape[1]), None)
        if length is None:
            raise ValueError(f"the file's lengths are {self.lengths}, not {input_ids.shape[1]}")
        missing = length - input_ids.shape[1]
        along = (missing, 0) if self._left else (0, missing)
        rows = []
        for row, ids in enumerate(input_ids):  # Python 3.9 has no zip(strict=True)
            padded = np.pad(ids, along, constant_values=self._pad_id)[None]
            rows.append((length, self._named(padded, np.pad(attention_mask[row], along)[None])))
        return rows

    def _named(self, input_ids: Ids, attention_mask: Ids) -> dict[str, npt.NDArray[Any]]:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        return {
            name: given[_OTHER_NAMES.get(name, name)].astype(dtype)
            for name, dtype in self._dtypes.items()
        }

    def run(self, fed: list[Row]) -> npt.NDArray[np.float32]:
        """See `runtime.bench.worker.Model`."""
        return np.concatenate(
            [self._runners[length](**inputs)[self._output] for length, inputs in fed]
        )
