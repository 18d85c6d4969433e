"""Checks what a caller hands to a program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from runtime.coreml_reference.program import (
    NUMPY_TYPES,
    Array,
    CoreMLError,
    Feature,
    Package,
    TensorType,
)


def check_inputs(package: Package, inputs: Mapping[str, Array]) -> None:
    """Refuse inputs that the package does not declare just so.

    Names must be those of the function, element types the declared ones without conversion, and
    shapes must fit the function's types and the description's default, enumerated or ranged shapes.

    Raises:
        CoreMLError: names the input, what it is and what it should be.
    """
    declared = {named.name: named.type for named in package.function.inputs}
    missing, unknown = declared.keys() - inputs.keys(), inputs.keys() - declared.keys()
    if missing or unknown:
        named = ", ".join(sorted(declared))
        what = f"inputs are missing: {', '.join(sorted(missing))}" if missing else ""
        what = what or f"inputs are unknown: {', '.join(sorted(map(str, unknown)))}"
        raise CoreMLError(what, why=f"the program takes {named}")
    features = {feature.name: feature for feature in package.inputs}
    for name, kind in declared.items():
        value = inputs[name]
        if not isinstance(kind, TensorType):
            raise CoreMLError(f"the input {name} is a {kind.kind}, which is not supported")
        if not isinstance(value, np.ndarray):
            raise CoreMLError(f"the input {name} is {type(value).__name__}, not a numpy array")
        expected = np.dtype(NUMPY_TYPES[kind.dtype])
        if value.dtype != expected:
            raise CoreMLError(
                f"the input {name} is {value.dtype}, not {expected}", todo="convert it first"
            )
        if len(kind.shape) != value.ndim or any(
            length not in (None, found)
            for length, found in zip(kind.shape, value.shape, strict=True)
        ):
            raise CoreMLError(
                f"the input {name} has the shape {value.shape}",
                why=f"the program takes {tuple('any' if n is None else n for n in kind.shape)}",
            )
        if name in features:
            _check_shape(features[name], value.shape)


def _check_shape(feature: Feature, shape: tuple[int, ...]) -> None:
    if feature.shapes:
        if shape not in feature.shapes:
            allowed = ", ".join(str(one) for one in feature.shapes)
            raise CoreMLError(
                f"the input {feature.name} has the shape {shape}", why=f"allowed are {allowed}"
            )
    elif feature.ranges:
        if len(shape) != len(feature.ranges) or any(
            length < low or (high is not None and length > high)
            for length, (low, high) in zip(shape, feature.ranges, strict=True)
        ):
            raise CoreMLError(
                f"the input {feature.name} has the shape {shape}",
                why=f"its lengths range over {feature.ranges}",
            )
    elif feature.shape and shape != feature.shape:
        raise CoreMLError(
            f"the input {feature.name} has the shape {shape}", why=f"{feature.shape} is declared"
        )
