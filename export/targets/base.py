"""What every target offers, whatever format is behind it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from export.content_cache import NO_CACHE, ContentCache
from runtime.errors import MissingExtraError, UserError
from runtime.manifest import ArtifactSpec, PadSide, TaskSpec, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from export.recipes import Recipe
    from export.reference import Reference


@dataclass(frozen=True, slots=True)
class WeightInfo:
    """One stored weight.

    Attributes:
        name: as the artifact calls it.
        shape: as the arithmetic sees it, dense.
        precision: ``float32``, ``float16``, ``int8``, ``int4``, ``uint4``; ``lut6`` for six-bit
            indices into a look-up table.
        role: ``linear`` (feeds a matrix product), ``embedding`` (is looked up), ``other``, or
            ``rest`` for one entry that stands for every constant that is not listed by itself
            (`runtime.constants_digest`).
        scales: number of quantization scales, or of look-up tables; 0 for a float weight.
        sparsity: share of elements that are not stored because they are zero, 0 to 1.
        bits: bits in the file per element, scales, tables and masks included; None where the
            target does not tell.
        sha256: of the values that the arithmetic uses, by the session's own rule; None where the
            format's session does not compare them.
    """

    name: str
    shape: tuple[int, ...]
    precision: str
    role: str
    scales: int
    sparsity: float = 0.0
    bits: float | None = None
    sha256: str | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count


@dataclass(frozen=True, slots=True)
class Description:
    """What an artifact really holds, read back from the file and not from what was asked for.

    Attributes:
        inputs, outputs: by name; free axes are called ``batch`` and ``length``.
        lengths: sequence lengths the file has, ascending; None where any length runs.
        minimum_runtime: runtime package → lowest version that runs the file correctly.
        weights: every stored weight of at least 256 elements, each once even if it is shared.
        operators: operator name → number of uses.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lengths: tuple[int, ...] | None
    minimum_runtime: dict[str, str]
    weights: tuple[WeightInfo, ...]
    operators: dict[str, int]


@dataclass(frozen=True, slots=True)
class ArtifactMetadata:
    """What a format with room for it says about the model.

    Attributes:
        name: of the bundle.
        description: one line.
        author, license, version: as given by who exports.
        contract_sha256: `runtime.manifest.contract_sha256` of the bundle's manifest, so that an
            artifact met on its own can be matched with its bundle.
    """

    name: str
    description: str
    author: str
    license: str
    version: str
    contract_sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported, the same for every target.

    Attributes:
        reference: the logits-only PyTorch module and its facts.
        lengths: sequence lengths that a format with fixed shapes must have, ascending; the last
            one is the tokenizer's max_length. A format with free shapes ignores them.
        task: labels and activation.
        pad_id: id that fills a sequence up.
        pad_side: where it does.
        metadata: for the artifact.
        calibration: ids of training texts with special tokens, not padded, each at most
            lengths[-1] long; for recipes that need to see activations.
        cache: where conversions are kept for later runs; nowhere unless it is said.
    """

    reference: Reference
    lengths: tuple[int, ...]
    task: TaskSpec
    pad_id: int
    metadata: ArtifactMetadata
    calibration: tuple[tuple[int, ...], ...] = ()
    pad_side: PadSide = "right"
    cache: ContentCache = NO_CACHE


@dataclass(frozen=True, slots=True)
class Job:
    """One artifact to make.

    Attributes:
        recipe: what to make.
        options: the target's own settings: the recipe's, overridden by the command line's.
        scratch: a folder of this target and this run, where float conversions that several
            recipes share may be kept.
        divisors: linear layer → float32 [in]: powers of two that its input is divided by, and the
            columns of its weight multiplied with, before both are quantized. Empty unless the
            recipe's `outliers` is ``divide``.
        unrounded: the source's reference before its weights were rounded for the recipe; None if
            they were not.
    """

    source: Source
    recipe: Recipe
    options: Mapping[str, str]
    scratch: Path
    divisors: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    unrounded: Reference | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """The weights that an artifact really uses: they tell a wrong graph from coarse weights.

    Attributes:
        tensors: parameter name of the reference's transformers model (``classifier.weight``) →
            float32 array of the parameter's shape; every parameter is there. Rows of the position
            embeddings beyond lengths[-1] keep the original's values.
        layer_norm_eps: the epsilon the artifact can express for the model's.
    """

    tensors: Mapping[str, npt.NDArray[np.float32]]
    layer_norm_eps: float


class Target(Protocol):
    """A module of `export.targets` that makes artifacts of one format.

    Attributes:
        TARGET: the format's name.
        SUFFIX: of its files.
        OPTIONS: option → allowed values, the default first; what ``Job.options`` may hold.
        PACKAGES: distributions that touch an artifact; the manifest tells their versions.
        EXPERIMENTAL: left out of ``all``, to be named by who wants it.
    """

    TARGET: str
    SUFFIX: str
    EXPERIMENTAL: bool
    OPTIONS: Mapping[str, tuple[str, ...]]
    PACKAGES: tuple[str, ...]

    def available(self) -> str | None:
        """None, or one line that names the install command."""
        ...

    def check(self, recipe: Recipe, options: Mapping[str, str], lengths: tuple[int, ...]) -> None:
        """Refuse what does not go together, before any work is done.

        Raises:
            UserError: says what to choose instead.
        """
        ...

    def make(self, job: Job, destination: Path) -> None:
        """Write the artifact, a file or a folder; the same job gives the same bytes.

        Raises:
            UserError: the format cannot express the model, or cannot do what the recipe asks for.
        """
        ...

    def describe(self, artifact: Path) -> Description:
        """Read an artifact back.

        Raises:
            UserError: the file is not of this format.
        """
        ...

    def effective(self, artifact: Path, job: Job) -> Effective | None:
        """Check the stored weights and return them as the artifact uses them.

        Returns:
            None where a target cannot tell.

        Raises:
            UserError: a stored weight is not what the recipe makes of the reference's.
        """
        ...

    def usage(self, artifact: ArtifactSpec) -> str:
        """How to load it on a device: Markdown, without a bullet; empty where there is none."""
        ...

    def companions(self, artifact: ArtifactSpec) -> Mapping[str, str]:
        """Further text files for the bundle: file name → content; the same for every artifact."""
        ...


def missing_package(
    modules: Mapping[str, str], *, purpose: str, extra: str = "export"
) -> MissingExtraError | None:
    """The first package that is not installed, as the error to raise; None if all are there.

    Args:
        modules: module to import → distribution to install.
        purpose: what needs it, for the message.
        extra: of this project, for the install command.
    """
    for module, package in modules.items():
        if find_spec(module) is None:
            return MissingExtraError(package, extra=extra, purpose=purpose)
    return None


def check_lengths(lengths: tuple[int, ...], longest: int) -> None:
    """Whether a format with fixed shapes can be made for these sequence lengths.

    Raises:
        UserError: they are not ascending, leave no room for the special tokens, or the longest is
            above the model's `longest` positions.
    """
    if not lengths or list(lengths) != sorted(set(lengths)):
        raise UserError(f"the lengths {lengths} are not ascending", todo="for example 32,64,128")
    if lengths[0] < 2:
        raise UserError(f"the length {lengths[0]} has no room for the special tokens")
    if lengths[-1] > longest:
        raise UserError(f"the length {lengths[-1]} is above the model's {longest} positions")


def nothing_to_check(recipe: Recipe, options: Mapping[str, str], lengths: tuple[int, ...]) -> None:
    """`Target.check` of a format without options."""
    del recipe, options, lengths


def no_companions(artifact: ArtifactSpec) -> Mapping[str, str]:
    """`Target.companions` of a format that needs no further files."""
    del artifact
    return {}


def make_from_float(
    job: Job,
    destination: Path,
    *,
    convert: Callable[[Reference, tuple[int, ...], Path], None],
    quantize: Callable[[Path, Recipe, Path], None],
    suffix: str,
) -> None:
    """Convert to float32 once, then copy or quantize: for formats without options."""
    from export.float_cache import float_conversion

    source = job.source
    floats = float_conversion(
        job, lambda reference, path: convert(reference, source.lengths, path), suffix=suffix
    )
    if job.recipe.quantizes:
        quantize(floats, job.recipe, destination)
    else:
        shutil.copyfile(floats, destination)


def resolve_options(target: Target, recipe: Recipe, chosen: Mapping[str, str]) -> dict[str, str]:
    """Every option of a target: its default, the recipe's value or the chosen one.

    Options in `chosen` that the target does not have are another target's and are left out.

    Raises:
        UserError: a value that the target does not know, or a recipe with an unknown option.
    """
    resolved = {}
    if unknown := sorted(set(recipe.options) - set(target.OPTIONS)):
        raise UserError(f"recipe {recipe.target}_{recipe.name}.toml has the option {unknown[0]!r}")
    for name, allowed in target.OPTIONS.items():
        value = chosen.get(name) or recipe.options.get(name) or allowed[0]
        if value not in allowed:
            raise UserError(
                f"unknown {name.replace('_', ' ')} {value!r} for the target {target.TARGET}",
                todo=f"choose one of: {', '.join(allowed)}",
            )
        resolved[name] = value
    return resolved
