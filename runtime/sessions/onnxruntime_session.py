"""Runs ONNX artifacts with onnxruntime on the processor, as the apps do."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runtime.constants_digest import digests
from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, TensorSpec
from runtime.processor import features
from runtime.sessions.base import Ids, Logits, SessionSettings, check_batch
from runtime.sessions.onnx_exact import exact_model
from runtime.sessions.onnx_file import refuse_external_data
from runtime.sessions.onnx_graph import open_graph
from runtime.sessions.onnx_taps import OnnxTaps
from runtime.sessions.taps import Tapped

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
    return OnnxruntimeSession(
        session, spec, settings, onnxruntime.__version__, path=path, options=options
    )


class OnnxruntimeSession:
    """A loaded artifact; see `ExactTappingSession` and `WeighingSession` in `sessions.base`."""

    def __init__(
        self,
        session: Any,
        spec: ArtifactSpec,
        settings: SessionSettings,
        version: str,
        *,
        path: Path,
        options: Any,
    ) -> None:
        self._session = session
        integers = {w.precision for w in spec.weights.stored if w.role == "linear"}
        # Four bits are unpacked to seven.
        self._full_range = bool(integers & {"int8", "int4"}) and "avx2" not in spec.recipe
        self._path = path
        self._options = options
        self._taps: OnnxTaps | None = None
        self._exact_taps: OnnxTaps | None = None
        self._exact: Any = None
        self._listed = tuple(weight.name for weight in spec.weights.stored)
        self._settings = settings
        self._version = version
        self._output = spec.outputs[0].name
        self._longest = spec.lengths[-1] if spec.lengths else None

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
        return self._logits(self._session, input_ids, attention_mask)

    def run_exact(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, every activation in float32 and none quantized.

        Raises:
            UserError: as `run`, or the file quantizes activations in a way that is not known.
        """
        if self._exact is None:
            data = exact_model(self._path.read_bytes(), str(self._path))
            self._exact = self._session if data is None else self._open(data)
        return self._logits(self._exact, input_ids, attention_mask)

    def weight_digests(self) -> dict[str, str]:
        """Constant → SHA-256 of its values as they are stored; all others share one.

        Raises:
            UserError: the file cannot be read.
        """
        return digests(open_graph(self._path).constants(), self._listed)

    def _tapping(self, data: bytes) -> OnnxTaps:
        return OnnxTaps(self._path, data, self._options, self._output)

    def _open(self, data: bytes) -> Any:
        import onnxruntime

        try:
            return onnxruntime.InferenceSession(data, self._options, providers=_PROVIDERS)
        except Exception as error:  # onnxruntime's own errors share no other base class
            raise UserError(
                f"{self._path} cannot be run in exact arithmetic", why=_first_line(error)
            ) from error

    def _logits(self, session: Any, input_ids: Ids, attention_mask: Ids) -> Logits:
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        try:
            (logits,) = session.run([self._output], feed)
        except Exception as error:
            raise UserError(
                f"onnxruntime cannot run ids up to {int(input_ids.max())} "
                f"in the shape {list(input_ids.shape)}",
                why=_first_line(error),
                todo="use the bundle's own tokenizer and keep to its max_length",
            ) from error
        return np.asarray(logits, dtype=np.float32)

    def tap(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """See `runtime.sessions.base.TappingSession`."""
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        if self._taps is None:
            self._taps = self._tapping(self._path.read_bytes())
        return self._taps.run(input_ids, attention_mask)

    def tap_exact(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """See `runtime.sessions.base.ExactTappingSession`."""
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        if self._exact_taps is None:
            data = self._path.read_bytes()
            self._exact_taps = self._tapping(exact_model(data, str(self._path)) or data)
        return self._exact_taps.run(input_ids, attention_mask)

    @property
    def environment(self) -> dict[str, str]:
        """Runtime, version, execution providers, threads and the processor's architecture."""
        facts = {
            "runtime": "onnxruntime",
            "version": self._version,
            "providers": ",".join(self._session.get_providers()),
            "threads": str(self._settings.threads),
            "machine": platform.machine(),
        }
        if self._full_range and _saturates():
            facts["leaves_open"] = (
                "This processor has AVX2 and no VNNI, where onnxruntime's int8 products saturate: "
                "a fault that arm64 phones do not have. RECIPE=int8_avx2 is right here."
            )
        return facts


def _saturates() -> bool:
    there = set(features())
    return "avx2" in there and not there & {"avx_vnni", "avx512_vnni"}


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
