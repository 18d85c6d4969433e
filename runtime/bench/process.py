"""A worker seen from the driver: start it, ask it, and say in words how it ended."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runtime.emulation.process import why_it_ended
from runtime.errors import UserError

# A worker that was told to stop, or whose input ended, needs this long to go.
_GRACE_SECONDS = 2.0


class WorkerError(UserError):
    """A worker died, fell silent, or could not do what it was asked; the others go on."""


class RefusedError(WorkerError):
    """It answered that it cannot do what it was asked; `why` is its own message."""


class SilentError(WorkerError):
    """It gave no answer in time, and was ended."""


class Worker:
    """One process that answers requests, one at a time.

    It gets this program's variables: settings that a library reads are its own defaults.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it; `hello` waits for its first answer.

        Args:
            name: for messages.
            command: what to start.
            environment: variables beside this program's.

        Raises:
            WorkerError: the program cannot be started.
        """
        self._name = name
        # Kept until the worker is closed: what it wrote tells why it died.
        self._errors = tempfile.TemporaryFile(prefix="mobile-export-")  # noqa: SIM115
        quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a list, and no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | quiet | dict(environment or {}),
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise WorkerError(f"{name} cannot be started", why=str(error)) from error
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process still runs, after an answer or the lack of one."""
        return self._process.poll() is None

    def hello(self, patience: float) -> dict[str, Any]:
        """The first answer, which comes when the model is open.

        Raises:
            WorkerError: as `ask`.
        """
        return self._next(patience)

    def ask(self, request: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerError: it died, said nothing for `patience` seconds (it is ended then), answered
                something else than JSON, or answered with an error.
        """
        if self._process.stdin is None:  # it always is a pipe; this tells the type checker
            raise WorkerError(f"{self._name} takes no requests")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._ended() from error
        return self._next(patience)

    def close(self) -> None:
        """End it, gently at first."""
        if self._process.stdin is not None:
            with suppress(OSError, ValueError):
                self._process.stdin.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _next(self, patience: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            self._process.kill()
            self._process.wait()
            raise SilentError(
                f"{self._name} gave no answer for {patience:g} s",
                why="it was ended",
                todo="give it longer with --patience",
            ) from None
        if line is None:
            raise self._ended()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise WorkerError(f"{self._name} answered something else than JSON", why=line[:80])
        if "error" in answer:
            raise RefusedError(f"{self._name} failed", why=str(answer["error"]))
        return answer

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put(None)

    def _ended(self) -> WorkerError:
        status = self._wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        return WorkerError(f"{self._name} ended", why=why_it_ended(status, said))

    def _wait(self) -> int:
        """Exit status; a process that closed its output and stays is ended."""
        until = time.monotonic() + _GRACE_SECONDS
        while self._process.poll() is None:
            if time.monotonic() > until:
                self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        return self._process.returncode


def worker_script() -> Path:
    """`runtime.bench.worker` as a file, for interpreters that do not have our package."""
    return Path(__file__).with_name("worker.py")


def backend_script(name: str) -> Path:
    """The file of one of our backends, such as ``onnxruntime``."""
    return Path(__file__).parent / "backends" / f"{name}_backend.py"
