"""Runs Core ML packages: with Apple's runtime on macOS, with our reference executor anywhere."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.padding.short_runs import ShortRuns
from runtime.coreml_reference.program import Package
from runtime.coreml_reference.signature import signature_of
from runtime.coreml_reference.weights import stored_weights
from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec
from runtime.sessions.base import Ids, Logits, SessionSettings, check_batch, pad_to
from runtime.sessions.coreml_taps import tap_package
from runtime.sessions.taps import Tapped

FORMAT = "coreml"

APPLE, REFERENCE = "apple", "reference"
COMPUTE_UNITS = ("all", "cpu_only", "cpu_and_gpu", "cpu_and_ne")

LEAVES_OPEN = (
    "Core ML artifacts were executed by mobile-export's reference executor, each operation "
    "rounded once to the type it declares; they were not run on Apple hardware. That leaves open: "
    "whether the device's compiler accepts the program, where it places each operation, how the "
    "GPU and the Neural Engine accumulate and round, and how fast it is. `check_on_mac.py` in the "
    "bundle closes it on any Mac."
)


def available() -> None:
    """Always there: the reference executor needs numpy alone."""


def open_session(path: Path, spec: ArtifactSpec, settings: SessionSettings) -> CoreMLSession:
    """Load a package.

    Args:
        path: the .mlpackage folder.
        spec: what the manifest says of it.
        settings: ``backend`` is ``apple`` (macOS only), ``reference``, or ``auto``, which takes
            Apple's runtime where it is; ``compute_unit`` is for Apple's runtime.

    Raises:
        MissingExtraError: ``apple`` was asked for and coremltools is not installed.
        UserError: the package is damaged or uses what the executor does not know, its signature is
            not `spec`'s, or the backend or compute unit cannot be had.
    """
    package = read_package(path)
    _compare(path, package, spec)
    backend = settings.backend
    if backend == "auto":
        backend = APPLE if platform.system() == "Darwin" and find_spec("coremltools") else REFERENCE
    if backend == REFERENCE:
        runtime = _ReferenceRuntime(package, settings.threads)
        return CoreMLSession(runtime, package, spec, settings)
    if backend == APPLE:
        return CoreMLSession(_AppleRuntime(package, settings.compute_unit), package, spec, settings)
    raise UserError(
        f"Core ML has no backend {backend!r}", todo=f"choose auto, {APPLE} or {REFERENCE}"
    )


_Feed = dict[str, Ids]


class _Runtime(Protocol):
    """What executes a package."""

    def run(self, inputs: _Feed, *, exact: bool) -> dict[str, Any]: ...

    def run_series(self, feeds: Sequence[_Feed], *, exact: bool) -> Iterator[dict[str, Any]]: ...

    def tap(self, inputs: _Feed, *, exact: bool) -> Tapped: ...

    @property
    def facts(self) -> dict[str, str]: ...


class CoreMLSession:
    """A loaded package.

    See `runtime.sessions.base.ExactSession`, `SeriesSession` and `ClassifierSession`.
    """

    def __init__(
        self, runtime: _Runtime, package: Package, spec: ArtifactSpec, settings: SessionSettings
    ) -> None:
        self._runtime = runtime
        self._package = package
        self._lengths = spec.lengths
        self._longest = spec.lengths[-1] if spec.lengths else signature_of(package).longest
        # A classifier has a label and probabilities besides.
        self._output = next(o.name for o in spec.outputs if o.name in ("logits", "embedding"))
        self._settings = settings

    def run(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """Logits of a batch, one row after the other: a package takes one.

        Args:
            input_ids: int32 [batch, length]; filled up to the shortest length of the package that
                holds it.
            attention_mask: int32 [batch, length], 1 for a token and 0 for padding.

        Returns:
            float32 [batch, labels].

        Raises:
            UserError: a wrong shape or dtype, a sequence that is too long, or ids outside the
                vocabulary, which a program for iOS 17 or later would wrap silently.
        """
        return self._logits(input_ids, attention_mask, exact=False)

    def run_at(self, length: int, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, filled up to this one of the package's lengths: for comparing lengths.

        Raises:
            UserError: as `run`, or the package does not have the length.
        """
        if length not in (self._lengths or ()):
            raise UserError(f"the package has the lengths {self._lengths}, not {length}")
        if input_ids.shape[-1] > length:
            raise UserError(f"a sequence has {input_ids.shape[-1]} ids, more than {length}")
        return self.run(*self._filled(length, input_ids, attention_mask))

    def run_exact(self, input_ids: Ids, attention_mask: Ids) -> Logits:
        """As `run`, every activation in float32 and none quantized.

        Raises:
            UserError: as `run`, or the backend is Apple's, which cannot do that.
        """
        return self._logits(input_ids, attention_mask, exact=True)

    def run_series(
        self, pairs: Sequence[tuple[Ids, Ids]], *, exact: bool = False
    ) -> Iterator[Logits]:
        """See `runtime.sessions.base.SeriesSession`: our executor reads weights once for several.

        In float16 to the same bits; with `exact`, a sum's last bits may depend on what runs beside.
        """
        feeds = [feed for pair in pairs for feed in self._feeds(*pair)]
        found = self._runtime.run_series(feeds, exact=exact)
        for ids, _ in pairs:
            yield self._stacked([next(found) for _ in ids])

    def tap(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """See `runtime.sessions.base.TappingSession`."""
        return self._tap(input_ids, attention_mask, exact=False)

    def tap_exact(self, input_ids: Ids, attention_mask: Ids) -> Tapped:
        """See `runtime.sessions.base.ExactTappingSession`."""
        return self._tap(input_ids, attention_mask, exact=True)

    def weight_digests(self) -> dict[str, str]:
        """Weight name → SHA-256 of its dense values, as `runtime.coreml_reference.weights` has it.

        Raises:
            CoreMLError: a weight cannot be read.
        """
        return {weight.name: weight.sha256() for weight in stored_weights(self._package)}

    def classify(self, input_ids: Ids, attention_mask: Ids) -> tuple[str, dict[str, float]] | None:
        """The package's own label and probabilities of one text, int32 [1, length]; or None."""
        package = self._package
        if not package.predicted_feature_name:
            return None
        outputs = self._outputs(input_ids, attention_mask, exact=False)[0]
        own = outputs[package.predicted_probabilities_name]
        shares = {str(label): float(share) for label, share in own.items()}
        return str(outputs[package.predicted_feature_name]), shares

    @property
    def environment(self) -> dict[str, str]:
        """Runtime, version, compute unit and what the figures leave open."""
        return self._runtime.facts | {"machine": platform.machine()}

    def _logits(self, input_ids: Ids, attention_mask: Ids, *, exact: bool) -> Logits:
        return self._stacked(self._outputs(input_ids, attention_mask, exact=exact))

    def _stacked(self, outputs: list[dict[str, Any]]) -> Logits:
        return np.concatenate([np.asarray(o[self._output], dtype=np.float32) for o in outputs])

    def _tap(self, input_ids: Ids, attention_mask: Ids, *, exact: bool) -> Tapped:
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self._runtime.tap(feed, exact=exact)

    def _outputs(self, input_ids: Ids, attention_mask: Ids, *, exact: bool) -> list[dict[str, Any]]:
        feeds = self._feeds(input_ids, attention_mask)
        return [self._runtime.run(feed, exact=exact) for feed in feeds]

    def _feeds(self, input_ids: Ids, attention_mask: Ids) -> list[_Feed]:
        """A feed for each row of a batch, filled up to the package's length."""
        check_batch(input_ids, attention_mask, self._longest, self._settings.vocab_size)
        length = input_ids.shape[1]
        if self._lengths:
            length = min(n for n in self._lengths if n >= length)
        ids, mask = self._filled(length, input_ids, attention_mask)
        rows = range(len(ids))
        return [{"input_ids": ids[i : i + 1], "attention_mask": mask[i : i + 1]} for i in rows]

    def _filled(self, length: int, input_ids: Ids, attention_mask: Ids) -> tuple[Ids, Ids]:
        pad_id, side = self._settings.pad_id, self._settings.pad_side
        return pad_to(input_ids, length, pad_id, side), pad_to(attention_mask, length, 0, side)


class _ReferenceRuntime:
    """Our executor: faithful float16 by default, float32 when asked to be exact."""

    def __init__(self, package: Package, threads: int) -> None:
        from threadpoolctl import ThreadpoolController

        self._package = package
        self._threads = threads
        self._libraries = ThreadpoolController()
        self._runs: dict[bool, ShortRuns] = {}
        self._last: tuple[bytes, dict[str, Any]] | None = None

    def run(self, inputs: _Feed, *, exact: bool) -> dict[str, Any]:
        # A text that was padded to a fixed length already comes again as it was.
        key = b"".join((bytes([exact]), *(array.tobytes() for array in inputs.values())))
        if self._last is None or self._last[0] != key:
            self._last = key, next(self.run_series([inputs], exact=exact))
        return self._last[1]

    def run_series(self, feeds: Sequence[_Feed], *, exact: bool) -> Iterator[dict[str, Any]]:
        results = self._runs_of(exact=exact).run_series(feeds)
        while True:
            # Numbers do not depend on the threads; two that wait for each other are slow.
            with self._libraries.limit(limits=self._threads, user_api="blas"):
                found = next(results, None)
            if found is None:
                return
            yield found

    def tap(self, inputs: _Feed, *, exact: bool) -> Tapped:
        with self._libraries.limit(limits=self._threads, user_api="blas"):
            return tap_package(self._package, self._runs_of(exact=exact).executor, inputs)

    def _runs_of(self, *, exact: bool) -> ShortRuns:
        if exact not in self._runs:
            settings = (
                ExecutorSettings(mode="f32", quantize_activations=False)
                if exact
                else ExecutorSettings(mode="f16")
            )
            self._runs[exact] = ShortRuns(Executor(self._package, settings))
        return self._runs[exact]

    @property
    def facts(self) -> dict[str, str]:
        return {
            "runtime": "mobile-export's Core ML reference executor",
            "version": version("mobile-export"),
            "threads": str(self._threads),
            "arithmetic": "each operation exact, rounded once to its declared type",
            "leaves_open": LEAVES_OPEN,
        }


class _AppleRuntime:
    """Core ML itself, through coremltools. Never run by this project's own tests: no Mac."""

    def __init__(self, package: Package, compute_unit: str) -> None:
        if platform.system() != "Darwin":
            raise UserError(
                "Apple's Core ML runtime is on macOS only",
                why=f"this is {platform.system()}",
                todo="leave the backend out, and run check_on_mac.py of the bundle on a Mac",
            )
        if compute_unit not in COMPUTE_UNITS:
            raise UserError(
                f"Core ML has no compute unit {compute_unit!r}",
                todo=f"choose one of: {', '.join(COMPUTE_UNITS)}",
            )
        try:
            import coremltools
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "coremltools", extra="coreml", purpose="Apple's Core ML runtime"
            ) from error
        self._compute_unit = compute_unit
        self._model = coremltools.models.MLModel(
            str(package.path), compute_units=getattr(coremltools.ComputeUnit, compute_unit.upper())
        )

    def run(self, inputs: _Feed, *, exact: bool) -> dict[str, Any]:
        if exact:
            raise UserError("Apple's runtime does not leave out what float16 does")
        outputs: dict[str, Any] = self._model.predict(inputs)
        return outputs

    def run_series(self, feeds: Sequence[_Feed], *, exact: bool) -> Iterator[dict[str, Any]]:
        return (self.run(feed, exact=exact) for feed in feeds)

    def tap(self, inputs: _Feed, *, exact: bool) -> Tapped:  # noqa: ARG002
        raise UserError(
            "Apple's runtime does not show what is inside a package",
            todo=f"choose the backend {REFERENCE}",
        )

    @property
    def facts(self) -> dict[str, str]:
        return {
            "runtime": "Core ML",
            "version": f"macOS {platform.mac_ver()[0]}",
            "compute_unit": self._compute_unit,
        }


def _compare(path: Path, package: Package, spec: ArtifactSpec) -> None:
    """Refuse a package whose signature is not the manifest's."""
    found = signature_of(package)
    for what, actual, expected in (
        ("inputs", found.inputs, spec.inputs),
        ("outputs", found.outputs, spec.outputs),
        ("lengths", found.lengths, spec.lengths),
    ):
        if actual != expected:
            raise UserError(
                f"{path} has other {what} than its manifest says",
                why=f"found {actual}, expected {expected}",
                todo="export the bundle again",
            )
