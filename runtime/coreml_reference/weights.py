"""The weights of a package: what each is stored as, and the codes, scales and tables behind it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.coreml_reference.constants import evaluate
from runtime.coreml_reference.numerics import Mode, Numerics
from runtime.coreml_reference.program import Array, CoreMLError, Package, TensorType
from runtime.coreml_reference.weight_codes import (
    AFFINE,
    PALETTE,
    Codes,
    Link,
    bits_of_index,
    chain_of,
    kept_elements,
    link_of,
    read_codes,
)

MINIMUM_ELEMENTS = 256

_PRODUCTS = {
    ("linear", "weight"),
    ("conv", "weight"),
    ("matmul", "x"),
    ("matmul", "y"),
    ("einsum", "values"),
}
# slice_by_index takes the first rows of position embeddings where there are several lengths.
_LOOKUPS = {
    ("gather", "x"),
    ("gather_nd", "x"),
    ("gather_along_axis", "x"),
    ("slice_by_index", "x"),
    ("slice_by_size", "x"),
}
_SUMS = {("add", "x"), ("add", "y")}
_PRECISIONS = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One constant.

    Attributes:
        name: of the value that the arithmetic uses.
        shape: dense.
        role: ``linear`` (multiplied with activations), ``embedding`` (looked up, or a table that is
            added as a whole, as position embeddings of a fixed length are) or ``other``.
        precision: ``float16``, ``float32``, ``int8``, ``int4``, ``uint4``; ``lut6`` for six-bit
            indices into a look-up table; ``int32`` and so on for what is no weight.
        scales: number of quantization scales or look-up tables, 0 for a float.
        sparsity: share of elements that are not stored, 0 to 1.
        bits: in the file per element, scales, tables and masks included.
        operation: that gives the value: ``const`` or a ``constexpr_`` kind.
        chain: the operations behind it, `operation` first.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    precision: str
    scales: int
    sparsity: float
    bits: float
    operation: str
    chain: tuple[Link, ...] = field(repr=False, compare=False)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def floats(self) -> Array:
        """The data of a constant that is not compressed, in the type it is stored in.

        Raises:
            CoreMLError: it is compressed, or its file cannot be read any more.
        """
        if self.operation != "const":
            raise CoreMLError(f"{self.name} is compressed", why=f"by {self.operation}")
        return self.chain[0].load("val")

    def codes(self) -> Codes:
        """Codes, scales and tables of a compressed constant.

        Raises:
            CoreMLError: it is not compressed, or by operations that are not known together, or its
                file cannot be read any more.
        """
        return read_codes(self.name, self.shape, self.chain)

    def dense(self, mode: Mode = "f32") -> Array:
        """Effective values, as the executor computes with them in a mode.

        Returns:
            [shape], float32, or float64 in the modes f64 and f16; an integer constant as stored.

        Raises:
            CoreMLError: as `runtime.coreml_reference.constants.evaluate`, or its file cannot be
                read any more.
        """
        numerics = Numerics(mode)
        made: dict[str, Array] = {}
        for link in reversed(self.chain):
            values = {name: value.load() for name, value in link.values.items()}
            values |= {name: made[source] for name, source in link.sources.items()}
            if link.operation.kind == "const":
                results: tuple[Array, ...] = (numerics.load(np.asarray(values["val"])),)
            else:
                results = evaluate(link.operation, values, numerics)
            for output, result in zip(link.operation.outputs, results, strict=True):
                dtype = output.type.dtype if isinstance(output.type, TensorType) else ""
                floats = result.dtype.kind == "f"
                made[output.name] = numerics.store(result.copy(), dtype) if floats else result
        return made[self.name]

    def sha256(self) -> str:
        """Hex SHA-256 of the effective values: shape, then float32 (or an integer's own type).

        Bytes are little-endian, in row-major order.

        Raises:
            CoreMLError: as `dense`.
        """
        values = self.dense("f32")
        digest = hashlib.sha256(f"{list(values.shape)}".encode())
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
        return digest.hexdigest()


def role_of_uses(uses: Iterable[tuple[str, str]], shape: tuple[int, ...]) -> str:
    """``embedding``, ``linear`` or ``other``.

    A matrix that is added is an embedding whose look-up the converter did: all positions of a fixed
    length are looked up every time.

    Args:
        uses: (operation, parameter) for every use of a constant.
        shape: of the constant.
    """
    found = set(uses)
    if found & _LOOKUPS:
        return "embedding"
    if found & _PRODUCTS:
        return "linear"
    matrix = sum(size > 1 for size in shape) > 1
    return "embedding" if matrix and found & _SUMS else "other"


def stored_weights(
    package: Package, *, minimum: int = MINIMUM_ELEMENTS
) -> tuple[StoredWeight, ...]:
    """Every tensor constant that an operation other than a constexpr uses.

    Args:
        package: what `read_package` returned.
        minimum: smallest number of elements.

    Returns:
        in the program's order; constants that share their data appear once, by the first name.

    Raises:
        CoreMLError: a constexpr operation whose parameters are no constants, or not as its kind
            needs them.
    """
    makers: dict[str, Link] = {}
    uses: dict[str, set[tuple[str, str]]] = {}
    for operation in package.function.operations:
        if operation.kind == "const" or operation.kind.startswith("constexpr_"):
            link = link_of(operation, makers)
            makers |= {output.name: link for output in operation.outputs}
            continue
        for parameter, arguments in operation.inputs.items():
            for argument in arguments:
                if isinstance(argument, str) and argument in makers:
                    uses.setdefault(argument, set()).add((operation.kind, parameter))
    found: dict[Any, StoredWeight] = {}
    for name, link in makers.items():
        if name not in uses:
            continue
        weight = _weight(name, link, makers, uses[name], minimum)
        if weight is not None:
            found.setdefault(_identity(weight), weight)
    return tuple(found.values())


def _identity(weight: StoredWeight) -> Any:
    """Equal for constants that share their data."""
    blobs = [v.blob for part in weight.chain for v in part.values.values() if v.blob is not None]
    return (weight.operation, weight.shape, *blobs) if blobs else weight.name


def _weight(
    name: str, link: Link, makers: Mapping[str, Link], uses: set[tuple[str, str]], minimum: int
) -> StoredWeight | None:
    """None where it is no tensor or too small."""
    declared = next(output.type for output in link.operation.outputs if output.name == name)
    if not isinstance(declared, TensorType) or declared.dtype == "string":
        return None
    shape = tuple(size for size in declared.shape if size is not None)
    elements = math.prod(shape)
    if elements < max(minimum, 1):
        return None
    chain = tuple(chain_of(link, makers))
    stored = {
        value.blob or (part.operation.name, parameter): value.stored_bits
        for part in chain
        for parameter, value in part.values.items()
    }
    precision, scales = _precision(declared, chain)
    return StoredWeight(
        name=name,
        shape=shape,
        role=role_of_uses(uses, shape),
        precision=precision,
        scales=scales,
        sparsity=1.0 - kept_elements(chain, elements) / elements,
        bits=sum(stored.values()) / elements,
        operation=link.operation.kind,
        chain=chain,
    )


def _precision(declared: TensorType, chain: tuple[Link, ...]) -> tuple[str, int]:
    """Precision and number of scales or tables; a palette counts where it has scales as well."""
    for part in chain:
        if part.operation.kind in PALETTE and "lut" in part.values:
            tables = math.prod(part.shape("lut")[:-2])  # 1 for the flat table of iOS 16
            return f"lut{bits_of_index(part)}", tables
    for part in chain:
        if (parameter := AFFINE.get(part.operation.kind)) and parameter in part.values:
            kind = part.values[parameter].type
            dtype = kind.dtype if isinstance(kind, TensorType) else ""
            return dtype, math.prod(part.shape("scale"))
    return _PRECISIONS.get(declared.dtype, declared.dtype), 0
