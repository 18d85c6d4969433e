"""What a package holds, read from the package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from export.targets.base import Description, WeightInfo
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError, Package
from runtime.coreml_reference.signature import signature_of
from runtime.coreml_reference.weights import stored_weights

# Specification version → what runs it, by Apple's table of formats.
_RUNTIMES = {
    6: {"iOS": "15", "macOS": "12"},
    7: {"iOS": "16", "macOS": "13"},
    8: {"iOS": "17", "macOS": "14"},
    9: {"iOS": "18", "macOS": "15"},
    10: {"iOS": "26", "macOS": "26"},
}


def description_of(artifact: Path) -> Description:
    """See `export.targets.coreml.describe`."""
    package = read_package(artifact)
    signature = signature_of(package)
    return Description(
        inputs=signature.inputs,
        outputs=signature.outputs,
        lengths=signature.lengths,
        minimum_runtime=_minimum_runtime(package),
        weights=_weights(package),
        operators=_operators(package),
    )


def _minimum_runtime(package: Package) -> dict[str, str]:
    try:
        return dict(_RUNTIMES[package.specification_version])
    except KeyError:
        raise CoreMLError(
            f"{package.path.name} has the specification version {package.specification_version}",
            why=f"known are {', '.join(map(str, _RUNTIMES))}",
        ) from None


def _weights(package: Package) -> tuple[WeightInfo, ...]:
    return tuple(
        WeightInfo(
            name=weight.name,
            shape=weight.shape,
            precision=weight.precision,
            role=weight.role,
            scales=weight.scales,
            sparsity=weight.sparsity,
            bits=weight.bits,
            sha256=weight.sha256(),
        )
        for weight in stored_weights(package)
        # Shapes and indices are part of the graph; int8 and int4 without scales are as well.
        if weight.scales or weight.precision.startswith("float")
    )


def _operators(package: Package) -> dict[str, int]:
    kinds = (operation.kind for operation in package.function.operations)
    return dict(sorted(Counter(kind for kind in kinds if kind != "const").items()))
