"""Who is timed: artifacts of a bundle, peers, and the machine's own limit."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from runtime.bench.process import Worker, backend_script, worker_script
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec

Group = Literal["ours", "peer", "again", "limit"]

# Formats that have a backend of their own, which peers of the format run through, too.
_BACKENDS = {"onnx": "onnxruntime", "tflite": "litert"}
ROOT = Path(__file__).resolve().parents[2]
AGAIN = " (again)"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model that a worker can open.

    Attributes:
        name: unique in a run, for tables.
        group: whose it is; ``again`` is the baseline a second time, which measures the noise.
        format: such as ``onnx`` or ``torch``.
        precision: of its weights, such as ``int8``; tells which limit it is held against.
        bytes: of its file or files.
        sha256: of them; empty for what has no file of its own.
        python: the interpreter that runs it.
        backend: the file that opens it.
        settings: what the backend is told, beside the threads.
        environment: variables for its process.
        note: one line that belongs beside its figures; empty mostly.
        place: of the bundle whose texts it is fed with, in `runtime.bench.lineup.Lineup`.
    """

    name: str
    group: Group
    format: str
    precision: str
    bytes: int
    sha256: str
    python: Path
    backend: Path
    settings: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    place: int = 0

    @property
    def is_judged(self) -> bool:
        """Whether its answers are compared with the reference."""
        return self.group in ("ours", "peer")

    def start(self, threads: int) -> Worker:
        """A process that opens it.

        Raises:
            WorkerError: the interpreter cannot be started.
        """
        settings = json.dumps({**self.settings, "threads": threads})
        # -P: the folder of the script must not hide packages of the interpreter.
        command = [str(self.python), "-P", str(worker_script()), str(self.backend), settings]
        return Worker(self.name, command, self.environment)

    def again(self) -> Contestant:
        """The same a second time, in a process of its own."""
        return replace(self, name=self.name + AGAIN, group="again")


def contestants_of_all(
    bundles: Sequence[Bundle], labels: Sequence[str], name: str | None = None
) -> tuple[Contestant, ...]:
    """The artifacts of several bundles, each called ``LABEL/PATH``; of one bundle only ``PATH``.

    Args:
        bundles: verified.
        labels: of them, unique.
        name: as `contestants_of`; a bundle that has none such takes no part.

    Raises:
        UserError: no bundle has an artifact of that name.
    """
    found: list[Contestant] = []
    failure: UserError | None = None
    for place, (bundle, label) in enumerate(zip(bundles, labels, strict=True)):
        try:
            own = contestants_of(bundle, name)
        except UserError as error:
            failure = failure or error
            continue
        prefix = f"{label}/" if len(bundles) > 1 else ""
        found += [replace(one, name=prefix + one.name, place=place) for one in own]
    if failure is not None and not found:
        raise failure
    return tuple(found)


def contestants_of(bundle: Bundle, name: str | None = None) -> tuple[Contestant, ...]:
    """The artifacts of a bundle that a device would run as this machine does.

    Args:
        bundle: verified.
        name: file name, format, recipe or precision of those wanted; None takes every ONNX and
            TFLite file. What Core ML packages run on here is a reference executor, whose speed says
            nothing, so they are timed only by name.

    Raises:
        UserError: no artifact is called that, or there is none to time.
    """
    artifacts = bundle.manifest.artifacts
    if name is None:
        chosen = [a for a in artifacts if a.format in _BACKENDS]
    else:
        chosen = [a for a in artifacts if name in (a.path, a.format, a.recipe, a.precision)]
    if not chosen:
        known = ", ".join(a.path for a in artifacts)
        raise UserError(
            f"no artifact is called {name!r}" if name else "the bundle has no ONNX or TFLite file",
            todo=f"name one with --artifact: {known}",
        )
    return tuple(contestant_of(bundle, artifact) for artifact in chosen)


def contestant_of(bundle: Bundle, artifact: ArtifactSpec) -> Contestant:
    """One artifact of a bundle."""
    settings: dict[str, Any] = {
        "path": str(bundle.file(artifact.path)),
        "pad_id": bundle.manifest.tokenizer.pad_id,
        "pad_side": bundle.manifest.tokenizer.pad_side,
    }
    backend = _BACKENDS.get(artifact.format, "session")
    if backend == "session":
        settings |= {"bundle": str(bundle.path.resolve()), "artifact": artifact.path}
    return Contestant(
        name=artifact.path,
        group="ours",
        format=artifact.format,
        precision=artifact.precision,
        bytes=artifact.bytes,
        sha256=artifact.sha256,
        python=Path(sys.executable),
        backend=backend_script(backend),
        settings=settings,
        environment={"PYTHONPATH": str(ROOT)},
    )


def with_baseline_again(
    contestants: Sequence[Contestant], baseline: Contestant
) -> tuple[Contestant, ...]:
    """All of them, and the baseline a second time right after the first."""
    place = contestants.index(baseline) + 1
    return (*contestants[:place], baseline.again(), *contestants[place:])
