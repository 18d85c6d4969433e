"""Starts workers in the emulator, follows them, and says in words how one died."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError

# Warnings of qemu about features that it does not emulate say nothing of a failure.
_NOISE = ("warning:", "cpuid_info")
_POLL_SECONDS = 1.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A worker to run.

    Attributes:
        name: for messages, such as ``model_int8.onnx on cortex-a53``.
        command: what to start.
        cases: how many it will run, for the progress.
    """

    name: str
    command: tuple[str, ...]
    cases: int


def run_jobs(
    jobs: Sequence[Job],
    environment: Mapping[str, str],
    *,
    at_once: int,
    patience: float,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Run every job; the first that fails ends the others.

    Args:
        jobs: to run.
        environment: all variables that they get.
        at_once: how many run at a time.
        patience: seconds without a sign of life after which a job is ended.
        progress: called with cases done and cases in all, from several threads, one at a time.

    Raises:
        UserError: one failed, died of a signal or fell silent; says which and why.
    """
    counts = [0] * len(jobs)
    total = sum(job.cases for job in jobs)
    lock, stop = threading.Lock(), threading.Event()

    def one(place: int) -> None:
        if stop.is_set():
            return

        def tell(done: int) -> None:
            with lock:
                counts[place] = done
                progress(sum(counts), total)

        try:
            _run(jobs[place], environment, patience, tell, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max(1, at_once)) as pool:
        futures = [pool.submit(one, place) for place in range(len(jobs))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()  # Ctrl-C too: no emulator is left running
            raise


def _run(
    job: Job,
    environment: Mapping[str, str],
    patience: float,
    tell: Callable[[int], None],
    stop: threading.Event,
) -> None:
    with tempfile.TemporaryDirectory(prefix="mobile-export-") as name:
        errors = Path(name) / "errors"
        last = [time.monotonic()]
        with errors.open("wb") as stream:
            try:
                process = subprocess.Popen(  # noqa: S603 - a list, and no shell
                    job.command,
                    cwd=name,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    text=True,
                )
            except OSError as error:
                raise UserError(f"{job.command[0]} cannot be started", why=str(error)) from error

        def follow() -> None:
            for line in process.stdout or ():
                last[0] = time.monotonic()
                with suppress(ValueError, IndexError):
                    tell(int(line.split()[0]))

        reader = threading.Thread(target=follow, daemon=True)
        reader.start()
        silent = False
        try:
            while process.poll() is None and not stop.is_set() and not silent:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
                silent = time.monotonic() - last[0] > patience
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            reader.join()
            if process.stdout:
                process.stdout.close()
        if stop.is_set():
            return
        if silent:
            raise UserError(
                f"{job.name} gave no sign of life for {patience:g} s",
                todo="run fewer texts: --limit; or give it longer: --patience",
            )
        if process.returncode:
            said = errors.read_text(encoding="utf-8", errors="replace")
            raise UserError(f"{job.name} failed", why=why_it_ended(process.returncode, said))


def why_it_ended(status: int, said: str) -> str:
    """One line on a process that did not end well.

    Args:
        status: as `subprocess` gives it; negative for a signal.
        said: all of its standard error.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("error: ")]
    if own:
        return own[-1].removeprefix("error: ").rstrip(".")
    if status < 0:
        try:
            number = signal.Signals(-status)
            name = f"{number.name} ({signal.strsignal(number)})"
        except ValueError:
            name = f"signal {-status}"
        why = f"it died of {name}"
        if status == -signal.SIGILL:
            why += ": the runtime uses an instruction that this processor does not have"
        return why
    telling = [line for line in lines if not any(noise in line for noise in _NOISE)]
    return f"status {status}: {telling[-1].strip()}" if telling else f"status {status}"
