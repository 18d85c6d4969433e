"""Makes the environments and runs every artifact in every old runtime of its format."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtime.bundle import Bundle
from runtime.compat.ask import BACKENDS, ask, spread
from runtime.compat.judge import FAILURES, Ran, contradictions, judged
from runtime.compat.pythons import find_python
from runtime.compat.runtimes import OldRuntime, RuntimeList
from runtime.errors import UserError
from runtime.golden import Golden
from runtime.manifest import ArtifactSpec
from runtime.parity.judge import GateSpec
from runtime.provisioning.cache import cache_folder
from runtime.provisioning.environments import Say, made_environment

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CompatSettings:
    """How much is run.

    Attributes:
        texts: natural texts, and as many nearly undecided ones, beside all awkward ones; 0 takes
            all.
        patience: seconds without an answer after which a runtime is cut off.
        plain: whether TFLite files also run without a delegate, on a runtime's own kernels.
    """

    texts: int = 64
    patience: float = 300.0
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A runtime and the interpreter that has it."""

    runtime: OldRuntime
    python: Path
    release: str


@dataclass(slots=True)
class CompatReport:
    """What was found.

    Attributes:
        runs: every artifact in every runtime that could be had.
        skipped: runtime → why it could not be had.
        contradictions: what the manifest promises, and was seen to be otherwise.
    """

    bundle: Bundle
    settings: CompatSettings
    runs: list[Ran] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something was garbage, died or hung, or the manifest promises too much."""
        return bool(self.contradictions) or any(ran.outcome in FAILURES for ran in self.runs)

    @property
    def open(self) -> bool:
        """Whether something could not be judged, or nothing ran at all."""
        return not self.runs or any(ran.outcome == "unjudged" for ran in self.runs)


def environments_folder() -> Path:
    """``$MOBILE_EXPORT_CACHE/compat/environments``, or below ``build`` in the current folder."""
    return cache_folder("compat") / "environments"


def place_of(runtime: OldRuntime, folder: Path, say: Say = lambda _: None) -> Place:
    """A runtime's interpreter, its environment made if it is not there yet.

    Args:
        runtime: of the list, or installed beside this program.
        folder: of all environments.
        say: called with one line before packages are fetched.

    Raises:
        UserError: there is no Python for it, or pip could not install it.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not runtime.requirements:
        return Place(runtime, Path(sys.executable), own)
    release, base = find_python(runtime.pythons)
    name = f"{runtime.package}-{runtime.version}"
    python = made_environment(
        folder / name, runtime.requirements, name=name, base=base, release=release, say=say
    )
    return Place(runtime, python, release)


def installed_beside(listed: RuntimeList) -> tuple[OldRuntime, ...]:
    """The runtimes that this interpreter itself has, as if they were of the list."""
    found = []
    for package, spec in listed.runtimes.items():
        try:
            found.append(OldRuntime(package, version(package), spec.format, spec.claim, (), ()))
        except PackageNotFoundError:
            continue
    return tuple(found)


def artifacts_of(bundle: Bundle, name: str | None) -> tuple[ArtifactSpec, ...]:
    """Those that a listed runtime can run, or the ones of this path, format or recipe.

    Raises:
        UserError: none is called that, or none has a format with old runtimes.
    """
    known = bundle.manifest.artifacts
    found = [a for a in known if a.format in BACKENDS]
    if name is not None:
        found = [a for a in found if name in (a.path, a.format, a.recipe, a.precision)]
    if not found:
        raise UserError(
            f"no {' or '.join(BACKENDS)} artifact is called {name!r}"
            if name
            else f"the bundle has no {' or '.join(BACKENDS)} artifact",
            why="other formats have no older runtime that this machine could install",
            todo=f"the bundle has: {', '.join(a.path for a in known)}",
        )
    return tuple(found)


def run_compat(
    bundle: Bundle,
    artifacts: Sequence[ArtifactSpec],
    golden: Golden,
    gates: dict[str, GateSpec],
    runtimes: Sequence[OldRuntime],
    settings: CompatSettings,
    *,
    folder: Path,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _: None,
    found: Callable[[Ran], None] = lambda _: None,
) -> CompatReport:
    """Run everything, one process at a time; what cannot be had is skipped.

    Args:
        bundle: verified.
        artifacts: of it.
        golden: its cases.
        gates: artifact path → limits.
        runtimes: of the list, or installed beside this program.
        settings: how much is run.
        folder: of the environments.
        progress: called with cases done and in all.
        say: called with one line before something that takes time.
        found: called with every run as it ends.
    """
    report = CompatReport(bundle, settings)
    places = []
    for runtime in runtimes:
        try:
            places.append(place_of(runtime, folder, say))
        except UserError as error:
            report.skipped[runtime.name] = str(error)
    rows = spread(golden, settings.texts)
    jobs = [
        (place, artifact, plain)
        for place in places
        for artifact in artifacts
        if artifact.format == place.runtime.format
        for plain in ((False, True) if settings.plain and artifact.format == "tflite" else (False,))
    ]
    for number, (place, artifact, plain) in enumerate(jobs):
        before = number * len(rows)

        def tell(done: int, before: int = before) -> None:
            progress(before + done, len(jobs) * len(rows))

        answer = ask(
            place.python, place.runtime, bundle, artifact, golden, rows,
            patience=settings.patience, plain=plain, tell=tell,
        )  # fmt: skip
        ran = judged(
            bundle, golden, gates, artifact, place.runtime, answer,
            python=place.release, plain=plain,
        )  # fmt: skip
        report.runs.append(ran)
        found(ran)
        progress(before + len(rows), len(jobs) * len(rows))
    report.contradictions = contradictions(artifacts, report.runs)
    return report
