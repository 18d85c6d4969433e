"""The program that is timed: one model in a process of its own, asked over a pipe.

    python -P worker.py BACKEND.py '{"path": …, "threads": 1, …}'

It runs in any interpreter that has numpy and the backend's runtime, so it imports nothing of ours
and is started by its path. Messages are lines of JSON: a request on standard input, an answer on
what was standard output when it started (libraries that print get standard error instead).

Requests and answers:
    (at start)                             {"ready", "environment", "lengths", "load_ns", …}
    {"do": "feed", "key", "ids"}           {"ok": true}; ids is int [batch][length], no padding
    {"do": "burst", "key", "runs"}         {"ns": [runs], "cpu_ns", "logits": [batch][labels]}
    {"do": "logits", "sequences": [[id]]}  {"logits": [sequences][labels]}, one at a time
    {"do": "memory"}                       {"peak_bytes", "now_bytes"}
A request that fails is answered with {"error": "one line"}; the end of input ends the program.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
PROTOCOL = 1


class Model(Protocol):
    """What a backend's `open_model` returns.

    Attributes:
        environment: runtime, version and whatever else its figures depend on.
        lengths: the sequence lengths the file has; None where any runs.
    """

    environment: dict[str, str]
    lengths: list[int] | None

    def feed(self, input_ids: Ids, attention_mask: Ids) -> Any:
        """Inputs in the runtime's own form, int32 [batch, length]; not timed."""

    def run(self, fed: Any) -> npt.NDArray[np.float32]:
        """Float32 [batch, labels] of what `feed` gave; timed."""


def main(arguments: list[str]) -> int:
    """Entry point."""
    # A crash should leave no core file behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Libraries print to file descriptor 1, some of them from C++.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        model, hello = _opened(Path(arguments[0]), json.loads(arguments[1]))
    except Exception as error:  # whatever a runtime raises is told to the driver
        _answer(answers, {"error": _one_line(error)})
        return 1
    _answer(answers, hello)
    fed: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            _answer(answers, _done(model, json.loads(line), fed))
        except Exception as error:  # the same
            _answer(answers, {"error": _one_line(error)})
    return 0


def _opened(backend: Path, settings: dict[str, Any]) -> tuple[Model, dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("bench_backend", backend)
    if spec is None or spec.loader is None:
        raise ValueError(f"{backend} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.load_library()
    library_bytes = _memory("VmRSS")
    _forget_peak()
    began = time.perf_counter_ns()
    model: Model = module.open_model(settings)
    load_ns = time.perf_counter_ns() - began
    return model, {
        "ready": PROTOCOL,
        "environment": model.environment,
        "lengths": model.lengths,
        "load_ns": load_ns,
        "library_bytes": library_bytes,
    }


def _done(model: Model, request: dict[str, Any], fed: dict[str, Any]) -> dict[str, Any]:
    what = request["do"]
    if what == "feed":
        fed[request["key"]] = _fed(model, request["ids"])
        return {"ok": True}
    if what == "burst":
        return _burst(model, fed[request["key"]], request["runs"])
    if what == "logits":
        rows = [model.run(_fed(model, [ids]))[0] for ids in request["sequences"]]
        return {"logits": [_numbers(row) for row in rows]}
    if what == "memory":
        return {"peak_bytes": _memory("VmHWM"), "now_bytes": _memory("VmRSS")}
    raise ValueError(f"the request {what!r} is not known")


def _burst(model: Model, fed: Any, runs: int) -> dict[str, Any]:
    # Other processes had the caches meanwhile; what is timed is a model in steady use.
    logits = model.run(fed)
    taken = []
    processor = time.process_time_ns()
    for _ in range(runs):
        began = time.perf_counter_ns()
        logits = model.run(fed)
        taken.append(time.perf_counter_ns() - began)
    # Of all threads and all runs: what a run costs even where others take the cores away.
    processor = time.process_time_ns() - processor
    return {"ns": taken, "cpu_ns": processor, "logits": [_numbers(row) for row in logits]}


def _fed(model: Model, ids: list[list[int]]) -> Any:
    array = np.array(ids, dtype=np.int32)
    return model.feed(array, np.ones_like(array))


def _numbers(row: npt.NDArray[np.float32]) -> list[float]:
    return [float(value) for value in row]


def _memory(field: str) -> int:
    """A line of /proc/self/status in bytes; elsewhere the peak, whichever was asked for."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _forget_peak() -> None:
    """Start the peak anew, so that it is the model's and not that of importing a library."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _answer(stream: TextIO, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
