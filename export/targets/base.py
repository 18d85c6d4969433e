"""What every target offers, whatever format is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runtime.manifest import TensorSpec

if TYPE_CHECKING:
    from export.recipes import Recipe
    from export.reference import Reference

# A float weight above this number of elements is worth a recipe's attention; biases,
# LayerNorm's vectors and a classifier of a few labels are below it.
LARGE_WEIGHT_ELEMENTS = 4_096


@dataclass(frozen=True, slots=True)
class WeightInfo:
    """One stored weight.

    Attributes:
        name: as the artifact calls it.
        shape: as stored.
        precision: ``float32``, ``float16``, ``int8``, ``int4`` …
        role: ``linear`` (feeds a matrix product), ``embedding`` (is looked up) or ``other``.
        scales: number of quantization scales; 0 for a float weight.
    """

    name: str
    shape: tuple[int, ...]
    precision: str
    role: str
    scales: int

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


class Target(Protocol):
    """A module of `export.targets` that makes artifacts of one format."""

    TARGET: str
    SUFFIX: str

    def available(self) -> str | None:
        """None, or one line that names the install command."""
        ...

    def convert(self, reference: Reference, lengths: tuple[int, ...], destination: Path) -> None:
        """Write the float32 artifact.

        Args:
            reference: the logits-only PyTorch module and its facts.
            lengths: sequence lengths that a format with fixed shapes must have, ascending; the
                last one is the tokenizer's max_length. A format with free shapes ignores them.
            destination: file to write; the same reference gives the same bytes.

        Raises:
            UserError: the format cannot express the model.
        """
        ...

    def quantize(self, float_artifact: Path, recipe: Recipe, destination: Path) -> None:
        """Write a quantized copy of a float32 artifact; the same input gives the same bytes.

        Raises:
            UserError: the recipe asks for what the format cannot do.
        """
        ...

    def describe(self, artifact: Path) -> Description:
        """Read an artifact back.

        Raises:
            UserError: the file is not of this format.
        """
        ...
