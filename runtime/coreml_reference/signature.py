"""A package's inputs and outputs in the manifest's terms."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.coreml_reference.program import CoreMLError, Feature, Package
from runtime.manifest import TensorSpec

_DTYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64", "int32": "int32"}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a package takes and gives.

    Attributes:
        inputs, outputs: by name; a sequence length that is not fixed is called ``length``. What is
            no tensor has the kind as its dtype, such as ``dictionary``, and the shape ().
        lengths: the sequence lengths, ascending; None where any up to `longest` runs.
        longest: the longest sequence.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lengths: tuple[int, ...] | None
    longest: int


def signature_of(package: Package) -> Signature:
    """Read the signature from the description that an app sees.

    Raises:
        CoreMLError: an input is not [1, length], the inputs differ in their lengths, or a range has
            no end.
    """
    lengths = {_lengths(feature) for feature in package.inputs}
    if len(lengths) != 1:
        raise CoreMLError(
            f"{package.path.name} has inputs of unlike lengths",
            why=", ".join(f"{f.name} {f.shapes or f.ranges or f.shape}" for f in package.inputs),
        )
    fixed, longest = lengths.pop()
    free = fixed is None or len(fixed) > 1
    return Signature(
        inputs=tuple(
            TensorSpec(f.name, _dtype(f), (1, "length" if free else longest))
            for f in package.inputs
        ),
        outputs=tuple(TensorSpec(f.name, _dtype(f), _shape(package, f)) for f in package.outputs),
        lengths=fixed,
        longest=longest,
    )


def _lengths(feature: Feature) -> tuple[tuple[int, ...] | None, int]:
    """(lengths or None for a range, longest)."""
    if feature.ranges:
        batch, length = feature.ranges if len(feature.ranges) == 2 else ((0, None), (0, None))
        if batch != (1, 1) or length[1] is None:
            raise CoreMLError(f"the input {feature.name} has the ranges {feature.ranges}")
        return None, length[1]
    shapes = feature.shapes or (feature.shape,)
    if any(len(shape) != 2 or shape[0] != 1 for shape in shapes):
        raise CoreMLError(f"the input {feature.name} has a shape other than [1, length]")
    lengths = tuple(sorted({shape[1] for shape in shapes}))
    return lengths, lengths[-1]


def _dtype(feature: Feature) -> str:
    if feature.kind != "multiArray":
        return feature.kind
    return _DTYPES.get(feature.dtype, feature.dtype)


def _shape(package: Package, feature: Feature) -> tuple[int | str, ...]:
    """The description's; the program's own type where the converter left it out."""
    if feature.shape or feature.kind != "multiArray":
        return feature.shape
    for operation in package.function.operations:
        for output in operation.outputs:
            shape = getattr(output.type, "shape", None)
            if output.name == feature.name and shape is not None:
                return tuple("length" if axis is None else axis for axis in shape)
    return ()
