"""One artifact in one old runtime: what it answers, or how it declines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from runtime.bench.process import (
    RefusedError,
    SilentError,
    Worker,
    WorkerError,
    backend_script,
    worker_script,
)
from runtime.bundle import Bundle
from runtime.compat.runtimes import OldRuntime
from runtime.errors import UserError
from runtime.golden import AWKWARD, BOUNDARY, NATURAL, Golden
from runtime.manifest import ArtifactSpec

Logits = npt.NDArray[np.float32]
Ending = Literal["answered", "refused", "crashed", "silent", "broken"]

# Format → the script that opens it in whatever release of its runtimes is installed.
BACKENDS = {"onnx": "onnxruntime", "tflite": "litert"}
# Exceptions that are a mistake of ours or of the environment, and no refusal of a model.
_NOT_A_REFUSAL = (
    "AttributeError", "ImportError", "KeyError", "ModuleNotFoundError", "NameError", "TypeError",
)  # fmt: skip
# Texts asked for at once: the progress moves, and a hang is noticed soon.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        ending: ``refused`` is a clean error of the runtime, ``crashed`` a process that died,
            ``silent`` one that was cut off, ``broken`` an environment that cannot run anything.
        why: one line, of anything but ``answered``.
        rows: golden cases that were answered before that.
        logits: float32 [rows, labels].
        environment: as the worker tells it; empty if it never opened the file.
    """

    ending: Ending
    why: str
    rows: tuple[int, ...]
    logits: Logits
    environment: dict[str, str]


def spread(golden: Golden, texts: int) -> tuple[int, ...]:
    """Rows of every awkward case, and of so many natural and nearly undecided ones, evenly.

    Args:
        golden: all cases.
        texts: of each of the two sorts; 0 takes all of them.

    Returns:
        Indices, ascending.
    """
    found = set(golden.rows(AWKWARD).tolist())
    for kinds in (NATURAL, (BOUNDARY,)):
        rows = sorted(row for kind in kinds for row in golden.rows(kind).tolist())
        if texts and len(rows) > texts:
            rows = [rows[i] for i in np.linspace(0, len(rows) - 1, texts).round().astype(int)]
        found.update(rows)
    return tuple(sorted(found))


def ask(
    python: Path,
    runtime: OldRuntime,
    bundle: Bundle,
    artifact: ArtifactSpec,
    golden: Golden,
    rows: Sequence[int],
    *,
    patience: float,
    plain: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Answer:
    """Run golden cases through an artifact in a process of an old runtime.

    Args:
        python: the interpreter that has the runtime.
        runtime: for messages and for its format.
        bundle: verified.
        artifact: of it.
        golden: for the ids.
        rows: indices of the cases.
        patience: seconds without an answer after which the process is ended.
        plain: whether the runtime's own kernels run everything, without a delegate.
        tell: called with the number of cases done.
    """
    tokenizer = bundle.manifest.tokenizer
    path = str(bundle.file(artifact.path).absolute())
    settings = {
        "path": path,
        "threads": 1,
        "pad_id": tokenizer.pad_id,
        "pad_side": tokenizer.pad_side,
        "plain": plain,
    }
    backend = backend_script(BACKENDS[runtime.format])
    # -I: neither the script's folder nor our packages may hide the interpreter's own.
    command = [str(python), "-I", str(worker_script()), str(backend), json.dumps(settings)]
    found: list[list[float]] = []
    environment: dict[str, str] = {}
    width = golden.reference.shape[1]
    ending: Ending = "answered"
    why = ""
    try:
        with Worker(f"{artifact.path} in {runtime.name}", command) as worker:
            environment = worker.hello(patience)["environment"]
            _check_version(environment, runtime)
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                sequences = [list(golden.cases[row].input_ids) for row in some]
                answer = worker.ask({"do": "logits", "sequences": sequences}, patience)
                found += _checked(answer, len(some), width)
                tell(len(found))
    except RefusedError as error:
        broken = error.why.split(":")[0] in _NOT_A_REFUSAL
        ending, why = ("broken" if broken else "refused"), error.why
    except SilentError as error:
        ending, why = "silent", str(error)
    except WorkerError as error:
        ending, why = "crashed", error.why or str(error)
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and fails as that
        logits = np.array(found, dtype=np.float64).reshape(-1, width).astype(np.float32)
    why = why.replace(path, artifact.path)
    return Answer(ending, why, tuple(rows[: len(found)]), logits, environment)


def _checked(answer: dict[str, Any], count: int, width: int) -> list[list[float]]:
    logits: list[list[float]] = answer["logits"]
    if len(logits) != count or any(len(row) != width for row in logits):
        # A shape of its own is an answer, and a wrong one.
        return [[np.nan] * width] * count
    return logits


def _check_version(environment: dict[str, str], runtime: OldRuntime) -> None:
    found = (environment["runtime"], environment["version"])
    if runtime.requirements and found != (runtime.package, runtime.version):
        raise UserError(
            f"the environment of {runtime.name} has {' '.join(found)}",
            todo="remove its folder to have it made again",
        )
