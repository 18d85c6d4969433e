"""reference_trace.npz: what PyTorch computed inside, as sketches to hold any layout against.

A point is one tensor of the reference, such as the output of a linear layer. Its values would fill
hundreds of megabytes, so that a sketch of `WIDTH` numbers stands for it: a sum of signed elements
in each of `WIDTH` random buckets (CountSketch: Charikar, Chen and Farach-Colton, 2002). Sketches
are linear and keep distances: the norm of the difference of two is that of the tensors to about
1 / sqrt(2 WIDTH) of itself, wherever in the tensor they differ.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.errors import BundleError, UserError
from runtime.files import canonical_json, write_atomically

TRACE = "reference_trace.npz"
# The family whose bundles have one.
_TRACED = "distilbert"
TRACE_SCHEMA = 1
WIDTH = 48
# What comes before the encoder blocks 0, 1, …; the head's number is that of the blocks.
INPUTS, EMBEDDINGS = -2, -1

# No attention score of a model is below this without a mask.
_MASKED = -1000.0

# A trace has a few thousand sketches; a larger file is an attack or a mistake.
_MAX_BYTES = 64 << 20

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One tensor of the reference.

    Attributes:
        name: module path, and after a dot what inside the module it is.
        block: index of the encoder block; `INPUTS`, `EMBEDDINGS`, or the number of blocks for the
            head.
        elements: how many numbers, in each case.
        ends_block: whether it is what the next block reads.
        square: attention's positions by positions, which a transposition makes another tensor.
        masked: whether what a mask pushed far down is left out; it would outweigh all else.
    """

    name: str
    block: int
    elements: tuple[int, ...]
    ends_block: bool = False
    square: bool = False
    masked: bool = False


@dataclass(frozen=True, slots=True)
class TraceCase:
    """One padded text.

    Attributes:
        input_ids, attention_mask: int32 [1, length].
        logits: PyTorch's, float32 [labels].
        sketches: float64 [points, WIDTH].
        scales: float64 [points]: the norm that differences are divided by; 0 where a point has no
            sense in this case.
        artifact: whose weights PyTorch computed with: an artifact's path, or empty for its own.
    """

    input_ids: npt.NDArray[np.int32]
    attention_mask: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    sketches: Floats
    scales: Floats
    artifact: str = ""

    @property
    def length(self) -> int:
        """Ids, padding included."""
        return int(self.input_ids.shape[1])


@dataclass(frozen=True, slots=True)
class ReferenceTrace:
    """All points in the order in which they are computed, and what they were for a few texts.

    Attributes:
        blocks: number of encoder blocks.
        points: see `TracePoint`.
        cases: one per sequence length; and the same with the weights of some artifacts.
    """

    blocks: int
    points: tuple[TracePoint, ...]
    cases: tuple[TraceCase, ...]

    def block_name(self, block: int) -> str:
        """How a report calls a block."""
        special = {INPUTS: "attention mask", EMBEDDINGS: "embeddings", self.blocks: "head"}
        return special.get(block, f"block {block}")


def joined(first: ReferenceTrace, *others: ReferenceTrace) -> ReferenceTrace:
    """One trace with the cases of all, which must have the same points."""
    traces = (first, *others)
    points = tuple(
        replace(point, elements=tuple(n for t in traces for n in t.points[i].elements))
        for i, point in enumerate(first.points)
    )
    return ReferenceTrace(first.blocks, points, tuple(c for t in traces for c in t.cases))


def without_masked(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array with 0 wherever a mask pushed a number far down."""
    return np.where(values <= _MASKED, 0.0, values)


def sketch(values: npt.NDArray[Any]) -> Floats:
    """The sketch of an array's elements in their order: float64 [WIDTH]."""
    flat = np.asarray(values).reshape(-1)
    bucket, sign = _hashes(1 << max(12, (flat.size - 1).bit_length()))
    weights = flat * sign[: flat.size]
    return np.bincount(bucket[: flat.size], weights, WIDTH).astype(np.float64)


@cache
def _hashes(count: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Bucket and sign of element 0, 1, …: splitmix64 (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    bucket = (z % np.uint64(WIDTH)).astype(np.int64)
    return bucket, 1.0 - 2.0 * (z >> np.uint64(63)).astype(np.float64)


def write_trace(path: Path, trace: ReferenceTrace) -> None:
    """Write a trace; the same trace gives the same bytes."""
    header = {
        "schema_version": TRACE_SCHEMA,
        "blocks": trace.blocks,
        "points": [
            {
                "name": p.name,
                "block": p.block,
                "elements": list(p.elements),
                "ends_block": p.ends_block,
                "square": p.square,
                "masked": p.masked,
            }
            for p in trace.points
        ],
        "cases": [case.artifact for case in trace.cases],
    }
    text = canonical_json(header, indent=None).encode()
    arrays: dict[str, npt.NDArray[Any]] = {"header": np.frombuffer(text, np.uint8)}
    for i, case in enumerate(trace.cases):
        arrays[f"input_ids_{i}"] = case.input_ids
        arrays[f"attention_mask_{i}"] = case.attention_mask
        arrays[f"logits_{i}"] = case.logits
        arrays[f"sketches_{i}"] = case.sketches.astype(np.float32)
        arrays[f"scales_{i}"] = case.scales.astype(np.float32)
    stream = io.BytesIO()
    # numpy gives every member the date 1980-01-01.
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_atomically(path, stream.getvalue())


def trace_of(bundle: Bundle) -> ReferenceTrace:
    """The trace in a bundle.

    Raises:
        UserError: it has none, because nobody has written out the steps of its family.
        BundleError: it is missing all the same, or damaged.
    """
    path, family = bundle.file(TRACE), bundle.manifest.source.family
    if family != _TRACED and not path.exists():
        raise UserError(
            "the inside of this model cannot be compared step by step",
            why=f"PyTorch's steps are written down for {_TRACED}, and this is {family}",
            todo="parity check still tells a wrong graph from coarse weights",
        )
    return read_trace(path)


def read_trace(path: Path) -> ReferenceTrace:
    """Read a trace; nothing in it is unpickled or unpacked.

    Raises:
        BundleError: missing, damaged, too large, or of another schema version.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BundleError(f"{path} is larger than {_MAX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read",
            why=error.strerror or str(error),
            todo="export the bundle again: only then PyTorch can be asked",
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # A packed member could be of any size once unpacked.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise BundleError(f"{path} holds packed members")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _trace(path, arrays)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, RecursionError) as error:
        raise BundleError(
            f"{path} is not a reference trace", why=repr(error), todo="export the bundle again"
        ) from error


def _trace(path: Path, arrays: Any) -> ReferenceTrace:
    header = json.loads(bytes(arrays["header"]))
    if header["schema_version"] != TRACE_SCHEMA:
        raise BundleError(f"{path} has the schema version {header['schema_version']!r}")
    points = tuple(
        TracePoint(
            name=str(p["name"]),
            block=int(p["block"]),
            elements=tuple(int(n) for n in p["elements"]),
            ends_block=bool(p["ends_block"]),
            square=bool(p["square"]),
            masked=bool(p["masked"]),
        )
        for p in header["points"]
    )
    cases = []
    for i, artifact in enumerate(header["cases"]):
        case = TraceCase(
            input_ids=arrays[f"input_ids_{i}"],
            attention_mask=arrays[f"attention_mask_{i}"],
            logits=arrays[f"logits_{i}"],
            sketches=arrays[f"sketches_{i}"].astype(np.float64),
            scales=arrays[f"scales_{i}"].astype(np.float64),
            artifact=str(artifact),
        )
        _check(case, len(points))
        cases.append(case)
    if not cases or any(len(point.elements) != len(cases) for point in points):
        raise ValueError("points and cases do not go together")
    return ReferenceTrace(int(header["blocks"]), points, tuple(cases))


def _check(case: TraceCase, points: int) -> None:
    ids, mask = case.input_ids, case.attention_mask
    if ids.dtype != np.int32 or mask.dtype != np.int32 or ids.shape != mask.shape:
        raise ValueError("ids and mask do not go together")
    if ids.ndim != 2 or ids.shape[0] != 1 or case.logits.ndim != 1:
        raise ValueError("a case is no single text")
    if case.sketches.shape != (points, WIDTH) or case.scales.shape != (points,):
        raise ValueError("sketches and points do not go together")
    if not _finite((case.sketches, case.scales, case.logits)):
        raise ValueError("a number is not finite")


def _finite(arrays: Iterable[npt.NDArray[Any]]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
