"""Runs ONNX artifacts with onnxruntime on the processor, as the apps do."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, TensorSpec
from runtime.sessions.base import Ids, Logits, SessionSettings, check_batch
from runtime.sessions.onnx_file import refuse_external_data

FORMAT = "onnx"

_PROVIDERS = ["CPUExecutionProvider"]
_DTYPES = {"tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(float)": "float32"}
# Failures are raised; onnxruntime need not also print them.
_LOG_FATAL_ONLY = 4


def available() -> str | None:
    """None, or one line that names the install command."""
    return None if find_spec("onnxruntime") else str(_missing())


def open_session(path: Path, spec: ArtifactSpec, settings: SessionSettings) -> OnnxruntimeSession:
    """Load an artifact.

    Args:
        path: the file; it must hold all of its weights.
        spec: what the manifest says of it.
        settings: `threads` is used for one operator and across operators; padding is not needed.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        UserError: the file is damaged or refers to other files, onnxruntime refuses it, or its
            inputs or outputs are not `spec`'s.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise _missing() from error
    refuse_external_data(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = settings.threads
    options.log_severity_level = _LOG_FATAL_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS)
    except Exception as error:  # onnxruntime's own errors share no other base class
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} refuses {path}",
            why=_first_line(error),
            todo="export or copy it again; the manifest names the lowest version that runs it",
        ) from error
    _compare(path, "inputs", session.get_inputs(), spec.inputs)
    _compare(path, "outputs", session.get_outputs(), spec.outputs)
    return OnnxruntimeSession(session, spec, settings, onnxruntime.__version__)


class OnnxruntimeSession:
    """A loaded artifact; see `runtime.sessions.base.Session`."""

    def __init__(
        self, session: Any, spec: ArtifactSpec, settings: SessionSettings, version: str
    ) -> None:
        self._session = session
        self._settings = settings
        self._version = version
        self._output = spec.outputs[0].name
        self._longest = spec.lengths[-1] if spec.lengths else None

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """Logits of a batch.

        Args:
            input_ids: int32 [batch, length].
            attention_mask: int32 [batch, length], 1 for a token and 0 for padding on the right.

        Returns:
            float32 [batch, labels].

        Raises:
            UserError: a wrong shape or dtype, more ids than the model has positions for, or ids
                outside the vocabulary.
        """
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        try:
            (logits,) = self._session.run([self._output], feed)
        except Exception as error:
            raise UserError(
                f"onnxruntime cannot run ids up to {int(input_ids.max())} "
                f"in the shape {list(input_ids.shape)}",
                why=_first_line(error),
                todo="use the bundle's own tokenizer and keep to its max_length",
            ) from error
        return np.asarray(logits, dtype=np.float32)

    @property
    def environment(self) -> dict[str, str]:
        """Runtime, version, execution providers, threads and the processor's architecture."""
        return {
            "runtime": "onnxruntime",
            "version": self._version,
            "providers": ",".join(self._session.get_providers()),
            "threads": str(self._settings.threads),
            "machine": platform.machine(),
        }


def _missing() -> MissingExtraError:
    return MissingExtraError("onnxruntime", extra="onnx", purpose="running an ONNX artifact")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _compare(path: Path, what: str, found: list[Any], promised: tuple[TensorSpec, ...]) -> None:
    """Refuse a file whose signature is not the manifest's."""
    actual = {v.name: (_DTYPES.get(v.type, v.type), tuple(v.shape)) for v in found}
    expected = {v.name: (v.dtype, v.shape) for v in promised}
    if actual != expected:
        raise UserError(
            f"{path} has other {what} than its manifest says",
            why=f"found {actual}, expected {expected}",
            todo="export the bundle again",
        )
