"""Which operation is the first whose result is wrong although what it reads is right."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.parity.bisect_match import Aligned, Found
from runtime.sessions.taps import Tap
from runtime.trace import ReferenceTrace

# Integers that carry values and not positions or shapes.
_VALUES = {"int8", "uint8"}
_ACCUMULATORS = {"MatMulInteger", "ConvInteger"}
# What nothing but the next step of the same module reads, if that is computed apart.
_UNFINISHED = (".product", ".weighted", ".normalised")
# Numbers per position inside a LayerNorm: any scale of as many rows may resemble one.
_SMALL = ("mean", "variance", "deviation", "factor", "shift")


@dataclass(frozen=True, slots=True)
class Blame:
    """The first wrong operation of one run.

    Attributes:
        found: its result.
        others: results of other operations that may be to blame instead: where integers and their
            scales meet again, one is wrong.
        order: its place in the run.
        behind: names of what it depends on.
    """

    found: Found
    others: tuple[Found, ...]
    order: int
    behind: frozenset[str]


def first_wrong(aligned: Aligned, trace: ReferenceTrace, output: str) -> Blame | None:
    """Look through one run.

    A result is wrong if it is no point's within the budget, and it is the graph's output, or a
    reader's result is wrong as well, or it is near a point that is nowhere else. What nothing wrong
    follows from is only something that the reference does not have.

    Args:
        aligned: the run.
        trace: of the reference.
        output: name of the logits.

    Returns:
        None if nothing is wrong.
    """
    found = aligned.found
    wrong = _wrong(found, trace, output)
    candidates = [f for f in found.values() if f.tensor in wrong and not _reads(f.tap, wrong)]
    if not candidates:
        return None
    order = {name: place for place, name in enumerate(found)}
    first = candidates[0]
    if (source := _unfinished(first, candidates, found, trace)) is not None:
        return Blame(source, (), order[source.tensor], _behind(found, source.tensor))
    rivals = [first] if first.resembles else _rivals(first, candidates, found, wrong)
    # The largest stored tensor is the matrix; beside it stand its scales.
    chosen = max(rivals, key=lambda f: _stored(f.tap))
    others = tuple(f for f in rivals if f is not chosen)
    return Blame(chosen, others, order[chosen.tensor], _behind(found, chosen.tensor))


def _unfinished(
    first: Found, candidates: list[Found], found: dict[str, Found], trace: ReferenceTrace
) -> Found | None:
    """The operation before, if the first wrong one reads a product that was to get its bias.

    What lacks a bias, or a weight, is a point of the reference all the same, but none that others
    may read: not an operation without stored vectors, and not several at once. A bias or a weight
    has a number for every channel; what is stored for heads has fewer.
    """
    for name in first.tap.inputs:
        source = found.get(name)
        while source is not None and source.tap.moves and source.tap.inputs:
            source = found.get(source.tap.inputs[0])
        if source is None or not source.points or not source.good:
            continue
        names = [trace.points[i].name.removesuffix(".first_position") for i in source.points]
        if not all(name.endswith(_UNFINISHED) for name in names):
            continue
        together = sum(name in item.tap.inputs for item in candidates)
        axes = [axis for axis in source.tap.outputs[source.tensor].shape if axis > 1]
        if _stored(first.tap) < min(axes, default=2) or together > 1:
            return source
    return None


def _stored(tap: Tap) -> int:
    return max(tap.parameters.values(), default=0)


def _reads(tap: Tap, wrong: set[str]) -> bool:
    return any(name in wrong for name in tap.inputs)


def _behind(found: dict[str, Found], name: str) -> frozenset[str]:
    known, waiting = set[str](), [name]
    while waiting:
        for read in found[waiting.pop()].tap.inputs:
            if read in found and read not in known:
                known.add(read)
                waiting.append(read)
    return frozenset(known)


def _wrong(found: dict[str, Found], trace: ReferenceTrace, output: str) -> set[str]:
    """Names of the wrong results."""
    readers: dict[str, list[str]] = {}
    for item in found.values():
        for name in item.tap.inputs:
            readers.setdefault(name, []).append(item.tensor)
    seen = {i for item in found.values() for i in item.points}
    suspicious: set[str] = set()
    for name, item in reversed(found.items()):
        if item.good:
            continue
        follows = any(reader in suspicious for reader in readers.get(name, ()))
        near = item.compared and item.resembles and item.point not in seen
        if near and item.point is not None:
            near = not any(part in _SMALL for part in trace.points[item.point].name.split("."))
        if follows or name == output or near:
            suspicious.add(name)
    # Positions and shapes are read by what is wrong, and are not wrong themselves.
    wrong: set[str] = set()
    for name, item in found.items():
        if name not in suspicious:
            continue
        value = item.tap.outputs[name]
        carries = value.dtype.kind == "f" or str(value.dtype) in _VALUES
        if carries or item.tap.kind in _ACCUMULATORS or _reads(item.tap, wrong):
            wrong.add(name)
    return wrong


def _rivals(
    first: Found, candidates: list[Found], found: dict[str, Found], wrong: set[str]
) -> list[Found]:
    """Candidates that meet the first one before anything that resembles a point."""
    starts = {f.tensor for f in candidates}
    origins: dict[str, set[str]] = {}
    for name, item in found.items():
        if name not in wrong:
            continue
        sources = {name} if name in starts else set()
        for read in item.tap.inputs:
            sources |= origins.get(read, set())
        origins[name] = sources
        if first.tensor in sources and len(sources) > 1:
            return [f for f in candidates if f.tensor in sources]
        if first.tensor in sources and item.resembles:
            break
    return [first]
