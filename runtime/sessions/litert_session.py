"""Runs TFLite files with LiteRT, or with tflite-runtime where only that is installed.

A file has fixed shapes: a signature ``seq_LENGTH`` per length, each for one row. Every row is cut
after its last token and runs alone at the smallest length that holds it, so that its result depends
neither on its neighbours nor on how far the caller padded it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from runtime.constants_digest import digests
from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, TensorSpec
from runtime.sessions.base import Ids, Logits, SessionSettings, check_batch, pad_to
from runtime.sessions.litert_exact import write_exact
from runtime.sessions.litert_file import constants, missing
from runtime.sessions.litert_file import load as read_file
from runtime.sessions.litert_taps import LiteRtTaps
from runtime.sessions.taps import Tapped

FORMAT = "tflite"

# Package → its module; both have the same Interpreter. The first that is installed runs.
_RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}


def available() -> str | None:
    """None, or one line that names the install command."""
    if _installed() is None:
        return "ai-edge-litert is not installed: pip install 'mobile-export[tflite]'"
    return None


def open_session(path: Path, spec: ArtifactSpec, settings: SessionSettings) -> LiteRtSession:
    """Load a file and compare its signatures with `spec`.

    Raises:
        MissingExtraError: neither runtime is installed.
        UserError: the runtime refuses the file, or its signatures are not what `spec` says.
    """
    package = _installed()
    if package is None:
        raise MissingExtraError("ai-edge-litert", extra="tflite", purpose="running TFLite files")
    if settings.threads < 1:
        raise UserError(f"threads is {settings.threads}, and at least 1 is needed")
    if not path.is_file():
        raise UserError(f"{path} is missing")
    return (LiteRtSession if missing() else WholeLiteRtSession).load(path, spec, settings, package)


def _interpreter(path: Path, spec: ArtifactSpec, settings: SessionSettings, package: str) -> Any:
    version = version_of(package)
    try:
        module: Any = import_module(_RUNTIMES[package])
        # The default operators bring the XNNPACK delegate.
        interpreter = module.Interpreter(model_path=str(path), num_threads=settings.threads)
        # LiteRT 1.x and tflite-runtime apply the delegate here and nowhere else; a signature
        # runner alone would run two to seven times slower. It packs every length's weights.
        interpreter.allocate_tensors()
        return interpreter
    except (ValueError, RuntimeError) as error:
        raise _refusal(error, path, spec, f"{package} {version}") from error
    except (ImportError, SystemError) as error:
        raise UserError(
            f"{package} {version} cannot be loaded",
            why=" ".join(str(error).split()),
            todo="versions before 1.1 need numpy below 2",
        ) from error


class LiteRtSession:
    """A loaded TFLite file.

    XNNPACK packs the weights of every length when the file is opened: a full-size int8 file of
    three lengths takes 130 MB beside the mapped file, whichever length is run.
    """

    def __init__(
        self,
        interpreter: Any,
        path: Path,
        spec: ArtifactSpec,
        settings: SessionSettings,
        package: str,
    ) -> None:
        """See `load`."""
        if sorted(tensor.name for tensor in spec.inputs) != ["attention_mask", "input_ids"]:
            raise UserError(f"{spec.path} has inputs other than input_ids and attention_mask")
        if len(spec.outputs) != 1 or not spec.lengths:
            raise UserError(f"{spec.path} needs one output and its lengths in the manifest")
        self._interpreter = interpreter  # runners use it and do not keep it alive
        self._path, self._spec, self._package = path, spec, package
        self._taps: tuple[int, LiteRtTaps] | None = None
        self._settings = settings
        self._lengths = spec.lengths
        self._output = spec.outputs[0].name
        self._labels = _width(spec.outputs[0])
        self._runners = _checked_runners(interpreter, path, spec)
        self._environment = {
            "runtime": package,
            "version": version_of(package),
            "threads": str(settings.threads),
            "delegate": _delegate(interpreter),
            "machine": platform.machine(),
        }

    @classmethod
    def load(cls, path: Path, spec: ArtifactSpec, settings: SessionSettings, package: str) -> Self:
        """Load a file with the runtime of this package.

        Raises:
            UserError: as `open_session`.
        """
        interpreter = _interpreter(path, spec, settings, package)
        return cls(interpreter, path, spec, settings, package)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Sequence lengths that the file has, ascending."""
        return self._lengths

    @property
    def environment(self) -> dict[str, str]:
        """Runtime package and version, threads, delegate, machine."""
        return dict(self._environment)

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """Logits of a batch, row by row, each at the smallest length that holds its tokens.

        Args:
            input_ids: int32 [batch, length]; ids under a mask of 0 do not move the result.
            attention_mask: int32 [batch, length]; each row needs at least one 1.

        Returns:
            float32 [batch, labels].

        Raises:
            UserError: as `runtime.sessions.base.Session.run`; also for a row without a token.
        """
        return self._run(input_ids, attention_mask, self._lengths)

    def run_at(self, length: int, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, but every row at this one of `lengths`: for comparing lengths.

        Raises:
            UserError: as `run`, or the file does not have the length.
        """
        self._check_length(length)
        return self._run(input_ids, attention_mask, (length,))

    def _check_length(self, length: int) -> None:
        if length not in self._lengths:
            raise UserError(f"the file has the lengths {self._lengths}, not {length}")

    def tap(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """See `runtime.sessions.base.TappingSession`; the ids' length must be one of `lengths`."""
        check_batch(input_ids, attention_mask, None, self._settings.vocab_size)
        length = input_ids.shape[1]
        self._check_length(length)
        # A file with every tensor as an output takes its memory once more, so one is kept.
        if self._taps is None or self._taps[0] != length:
            taps = LiteRtTaps(self._path, length, self._settings.threads, self._output)
            self._taps = length, taps
        return self._taps[1].run(input_ids, attention_mask)

    def _run(self, input_ids: Ids, attention_mask: Ids, lengths: tuple[int, ...]) -> Logits:
        check_batch(input_ids, attention_mask, None, self._settings.vocab_size)
        # Each row is cut to its tokens: up to its last 1, or with padding on the left from its
        # first one. The argmax of a reversed row is its last 1's place.
        side = self._settings.pad_side
        towards = attention_mask[:, ::-1] if side == "right" else attention_mask
        tokens = attention_mask.shape[1] - np.argmax(towards, axis=1)
        if not attention_mask.any(axis=1).all():
            row = int(np.argmin(attention_mask.any(axis=1)))
            raise UserError(f"row {row} has no token", why="its attention_mask is 0 everywhere")
        if tokens.max() > lengths[-1]:
            raise UserError(
                f"a sequence has {tokens.max()} ids, the artifact's longest is {lengths[-1]}"
            )
        ids = np.where(attention_mask, input_ids, np.int32(self._settings.pad_id))
        out = np.empty((len(input_ids), self._labels), dtype=np.float32)
        for row, count in enumerate(tokens):
            length = next(known for known in lengths if known >= count)
            columns = slice(count) if side == "right" else slice(ids.shape[1] - count, None)
            place = (slice(row, row + 1), columns)
            out[row] = self._run_row(length, ids[place], attention_mask[place])
        return out

    def _run_row(self, length: int, ids: Ids, mask: Ids) -> Logits:
        try:
            result: Mapping[str, Logits] = self._runners[length](
                input_ids=pad_to(ids, length, self._settings.pad_id, self._settings.pad_side),
                attention_mask=pad_to(mask, length, 0, self._settings.pad_side),
            )
        except RuntimeError as error:
            # Kernels check their indices; the message grows with every failure, so it is not shown.
            if "EMBEDDING_LOOKUP" in str(error):
                raise UserError(
                    f"an id is outside the model's vocabulary; ids run {ids.min()} to {ids.max()}"
                ) from error
            raise UserError(f"the runtime failed at length {length}", why=str(error)) from error
        logits = result[self._output]
        if logits.shape != (1, self._labels):
            raise UserError(f"the runtime returned the shape {logits.shape}")
        return logits


class WholeLiteRtSession(LiteRtSession):
    """A session that also reads the file itself, where the runtime comes with its schema.

    See `runtime.sessions.base.ExactSession` and `WeighingSession`.
    """

    _folder: TemporaryDirectory[str] | None = None
    _exact: LiteRtSession | None = None  # of the file in float32; None if it is that

    def run_exact(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, with the weights' very values in float32 and no activation quantized.

        The first call writes the file anew and loads it: for a full-size int8 file a second and
        600 MB of memory.

        Raises:
            UserError: as `run`, or the file is quantized in a way that is not known.
        """
        if self._folder is None:
            self._exact = self._open_exact()
        session = self._exact or self
        return session.run(input_ids, attention_mask)

    def weight_digests(self) -> dict[str, str]:
        """SHA-256 of every weight that the manifest lists, and one of all else that is stored."""
        listed = [weight.name for weight in self._spec.weights.stored]
        return digests(constants(read_file(self._path)), listed)

    def _open_exact(self) -> LiteRtSession | None:
        folder = TemporaryDirectory(prefix="tflite_exact_")
        path = Path(folder.name) / self._path.name
        exact = None
        if write_exact(self._path, path):
            exact = LiteRtSession.load(path, self._spec, self._settings, self._package)
        self._folder = folder  # the runtime maps the file for as long as it runs
        return exact


def _installed() -> str | None:
    for package, module in _RUNTIMES.items():
        if find_spec(module.partition(".")[0]) is not None:
            return package
    return None


def _delegate(interpreter: Any) -> str:
    """What the graph really runs on; the runtimes tell it through a private method only."""
    details = getattr(interpreter, "_get_ops_details", None)
    if details is None:
        return "unknown"
    return "XNNPACK" if any(op["op_name"] == "DELEGATE" for op in details()) else "none"


def _refusal(error: Exception, path: Path, spec: ArtifactSpec, runtime: str) -> UserError:
    reason = " ".join(str(error).split())
    if "find op for builtin" in reason:
        needs = " or ".join(f"{name} {low}" for name, low in sorted(spec.minimum_runtime.items()))
        return UserError(
            f"{path.name} is too new for {runtime}",
            why="it holds an operator version that this runtime does not have",
            todo=f"use at least {needs}",
        )
    return UserError(f"{runtime} refuses {path}", why=reason, todo="export it again, or copy it")


def _width(output: TensorSpec) -> int:
    width = output.shape[-1]
    if not isinstance(width, int):
        raise UserError(f"the output {output.name} has the shape {output.shape}, without labels")
    return width


def _checked_runners(interpreter: Any, path: Path, spec: ArtifactSpec) -> dict[int, Any]:
    """Length → runner.

    Raises:
        UserError: a signature, name, dtype or shape is not what `spec` says. A runtime would take
            another shape with as many elements and answer wrongly.
    """
    lengths = spec.lengths or ()
    expected = sorted(f"seq_{length}" for length in lengths)
    found = interpreter.get_signature_list()
    if sorted(found) != expected:
        raise UserError(
            f"{path} has the signatures {', '.join(sorted(found)) or 'none'}",
            why=f"the manifest says {', '.join(expected)}",
        )
    runners = {}
    for length in lengths:
        key = f"seq_{length}"
        runner = interpreter.get_signature_runner(key)
        inputs = {s.name: (s.dtype, (1, length)) for s in spec.inputs}
        outputs = {s.name: (s.dtype, tuple(s.shape)) for s in spec.outputs}
        for kind, wanted, details in (
            ("inputs", inputs, runner.get_input_details()),
            ("outputs", outputs, runner.get_output_details()),
        ):
            actual = {
                name: (np.dtype(entry["dtype"]).name, tuple(int(n) for n in entry["shape"]))
                for name, entry in details.items()
            }
            if actual != wanted:
                raise UserError(
                    f"{path}: signature {key} has the {kind} {actual}",
                    why=f"the manifest says {wanted}",
                )
        runners[length] = runner
    return runners
