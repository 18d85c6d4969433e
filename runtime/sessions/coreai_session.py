"""Runs Core AI assets with Apple's own runtime from ``coreai-core``. Experimental: a beta.

On Linux the package compiles the asset into a temporary folder, about as large as the asset, and
interprets it on one thread; it has no setting for threads or processors. From macOS 27 on it uses
the system's runtime instead, which was not tried here.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import platform
import sys
import threading
import time
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, TensorSpec
from runtime.sessions.base import Ids, Logits, SessionSettings, check_batch
from runtime.sessions.coreai_file import check_asset

FORMAT = "coreai"

_PACKAGE = "coreai-core"
_ENTRY = "main"
_STDERR = 2
# Whose turn it is to move the one that every thread writes to.
_SILENCE = threading.Lock()
_LET_GO_SECONDS = 0.25

_Result = TypeVar("_Result")


def available() -> str | None:
    """None, or one line that names the install command."""
    return None if find_spec("coreai") else str(_missing())


def open_session(path: Path, spec: ArtifactSpec, settings: SessionSettings) -> CoreAiSession:
    """Load an asset and compare its signature with `spec`.

    Args:
        path: the ``.aimodel`` folder.
        spec: what the manifest says of it.
        settings: `threads` has no effect, the runtime uses one; padding is not needed.

    Raises:
        MissingExtraError: coreai-core is not installed.
        UserError: the asset is damaged, the runtime refuses it, or its inputs or outputs are not
            `spec`'s.
    """
    if find_spec("coreai") is None:
        raise _missing()
    if settings.threads < 1:
        raise UserError(f"threads is {settings.threads}, and at least 1 is needed")
    check_asset(path)
    version = version_of(_PACKAGE)
    try:
        import coreai.authoring
        import coreai.runtime
    except (ImportError, OSError) as error:
        raise UserError(f"{_PACKAGE} {version} cannot be loaded", why=_line(error)) from error
    _let_go_before_exit()
    worker = _Worker()
    try:
        with _silent():
            function = worker.load(path)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        worker.close()
        raise UserError(
            f"{_PACKAGE} {version} refuses {path}",
            why=_line(error),
            todo="export it again; the manifest names the lowest version that runs it",
        ) from error
    try:
        _compare(path, function.desc, spec)
    except UserError:
        worker.close()
        raise
    return CoreAiSession(function, coreai.runtime.NDArray, worker, spec, settings, version)


class CoreAiSession:
    """A loaded asset; see `runtime.sessions.base.ExactSession`."""

    def __init__(
        self,
        function: Any,
        to_device: Any,
        worker: _Worker,
        spec: ArtifactSpec,
        settings: SessionSettings,
        version: str,
    ) -> None:
        self._function = function
        self._to_device = to_device
        self._worker = worker
        self._settings = settings
        self._version = version
        self._output = spec.outputs[0].name
        self._labels = spec.outputs[0].shape[-1]
        self._longest = spec.lengths[-1] if spec.lengths else None
        # At exit the pool is gone already; TemporaryDirectory then removes its folder by itself.
        weakref.finalize(self, worker.close).atexit = False

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """Logits of a batch.

        Args:
            input_ids: int32 [batch, length].
            attention_mask: int32 [batch, length], 1 for a token and 0 for padding.

        Returns:
            float32 [batch, labels].

        Raises:
            UserError: a wrong shape or dtype, more ids than the model has positions for, or ids
                outside the vocabulary.
        """
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        feed = {
            "input_ids": self._to_device(np.ascontiguousarray(input_ids)),
            "attention_mask": self._to_device(np.ascontiguousarray(attention_mask)),
        }
        try:
            result = self._worker.call(self._function(feed))
        except RuntimeError as error:
            raise UserError(
                f"{_PACKAGE} cannot run ids up to {int(input_ids.max())} "
                f"in the shape {list(input_ids.shape)}",
                why=_line(error),
                todo="use the bundle's own tokenizer and keep to its max_length",
            ) from error
        # A copy: the runtime's own buffer may be used again.
        logits = np.array(result[self._output].numpy(), dtype=np.float32)
        if logits.shape != (len(input_ids), self._labels):
            raise UserError(f"the runtime returned the shape {logits.shape}")
        return logits

    def run_exact(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`: the target writes float32 only, so no activation has a lower precision."""
        return self.run(input_ids, attention_mask)

    @property
    def environment(self) -> dict[str, str]:
        """Runtime package and version, threads, operating system and the machine's architecture."""
        return {
            "runtime": _PACKAGE,
            "version": self._version,
            "threads": "1",
            "system": platform.system(),
            "machine": platform.machine(),
        }


@dataclass(frozen=True, slots=True)
class _Worker:
    """One thread with its own event loop, and the model that is open in it.

    The runtime's functions are coroutines, and a caller may have a running loop already (a
    notebook has), in which no other may start.
    """

    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    open_models: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="coreai")
    )

    def call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run to the end and return the result, or raise what it raises."""
        return self.pool.submit(self.runner.run, work).result()

    def load(self, path: Path) -> Any:
        """Compile and load an asset; its temporary folder stays until `close`."""
        from coreai.authoring import AIModelAsset

        async def load() -> Any:
            asset = AIModelAsset.load(path)
            model = await self.open_models.enter_async_context(asset.executable())
            return model.load_function(_ENTRY)

        return self.call(load())

    def close(self) -> None:
        """Remove the temporary folder and end the loop and the thread."""
        self.call(self.open_models.aclose())
        self.pool.submit(self.runner.close)
        self.pool.shutdown(wait=True)


@functools.cache
def _let_go_before_exit() -> None:
    """Keep the end of the process from being an abort.

    After a run, the runtime's threads still hold Python objects for a moment. If the interpreter
    ends in that moment, it ends those threads, which Swift's code takes for a crash: "C++ exception
    handling detected …", exit status 134. Without this, about every second short program ended so.
    """
    atexit.register(time.sleep, _LET_GO_SECONDS)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop the line that the runtime's native code writes to stderr at every load."""
    with _SILENCE:
        try:
            before = os.dup(_STDERR)
        except OSError:  # stderr is closed: nothing to silence
            yield
            return
        sys.stderr.flush()
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), _STDERR)
                yield
        finally:
            os.dup2(before, _STDERR)
            os.close(before)


def _compare(path: Path, found: Any, spec: ArtifactSpec) -> None:
    """Refuse an asset whose signature is not the manifest's."""
    if sorted(tensor.name for tensor in spec.inputs) != ["attention_mask", "input_ids"]:
        raise UserError(f"{spec.path} has inputs other than input_ids and attention_mask")
    if len(spec.outputs) != 1:
        raise UserError(f"{spec.path} has {len(spec.outputs)} outputs, not logits alone")
    for what, names, describe, promised in (
        ("inputs", found.input_names, found.input_descriptor, spec.inputs),
        ("outputs", found.output_names, found.output_descriptor, spec.outputs),
    ):
        actual = {name: (describe(name).dtype, tuple(describe(name).shape)) for name in names}
        expected = {tensor.name: (tensor.dtype, _sizes(tensor)) for tensor in promised}
        if actual != expected:
            raise UserError(
                f"{path} has other {what} than its manifest says",
                why=f"found {actual}, expected {expected}",
                todo="export the bundle again",
            )


def _sizes(tensor: TensorSpec) -> tuple[int, ...]:
    """The runtime writes a free axis as -1."""
    return tuple(axis if isinstance(axis, int) else -1 for axis in tensor.shape)


def _missing() -> MissingExtraError:
    return MissingExtraError(_PACKAGE, extra="coreai", purpose="running a Core AI asset")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
