"""Rules for operations that move, take or choose elements."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from runtime.coreml_reference.padding.facts import Fact, Unproven
from runtime.coreml_reference.padding.norms import largest_of, row_norms
from runtime.coreml_reference.padding.registry import Call, rule


@rule("gather")
def gather(call: Call) -> Fact:
    """Rows of a constant table, such as word embeddings."""
    call.only("x", "indices", "axis", "batch_dims", "validate_indices")
    table, ids = np.asarray(call.constant("x")), call.fact("indices")
    if table.ndim != 2 or call.constant("axis", 0) != 0 or call.constant("batch_dims", 0) != 0:
        raise Unproven("only rows of a matrix are gathered")
    last = len(call.shape) - 1
    return Fact(call.shape, ids.positions, largest_of(table), (last, row_norms(table)))


@rule("greater_equal")
def compared(call: Call) -> Fact:
    """True or false, element by element."""
    call.only("x", "y")
    x = call.fact("x")
    if np.size(call.constant("y")) != 1 or x.shape != call.shape:
        raise Unproven("it is compared with more than a number")
    return call.like(x, largest=1.0)


@rule("select")
def select(call: Call) -> Fact:
    """One of two, element by element."""
    call.only("cond", "a", "b")
    condition, a, b = call.fact("cond"), call.fact("a"), call.fact("b")
    if not condition.shape == a.shape == b.shape == call.shape:
        raise Unproven("its operands have unlike shapes")
    if not condition.positions == a.positions == b.positions:
        raise Unproven("positions meet an axis that counts something else")
    return call.like(a, largest=max(a.largest, b.largest))


@rule("cast", "identity")
def kept(call: Call) -> Fact:
    """The same numbers; a mask's levels are followed as floats alone."""
    call.only("x", "dtype")
    x = replace(call.fact("x"), hidden=None, silent=None)
    floats = call.constant("dtype", "fp32") in ("fp16", "fp32")
    return x if floats else replace(x, levels=None, is_mask=False, normalised=None)


@rule("transpose")
def transpose(call: Call) -> Fact:
    """Axes in another order."""
    call.only("x", "perm")
    x = call.fact("x")
    perm = [axis % len(x.shape) for axis in call.constant("perm")]
    return _moved(call, x, {axis: place for place, axis in enumerate(perm)})


@rule("expand_dims")
def expand_dims(call: Call) -> Fact:
    """More axes of length 1."""
    call.only("x", "axes")
    rank = len(call.shape)
    new = {axis % rank for axis in call.constant("axes")}
    return _moved(
        call, call.fact("x"), dict(enumerate(axis for axis in range(rank) if axis not in new))
    )


@rule("reshape")
def reshape(call: Call) -> Fact:
    """Positions must stay an axis of their own."""
    call.only("x", "shape")
    x, shape = call.fact("x"), call.shape
    moved: dict[int, int] = {}
    for axis, length in enumerate(x.shape):
        for place, other in enumerate(shape):
            if length == other and math.prod(x.shape[:axis]) == math.prod(shape[:place]):
                moved[axis] = place
    if not x.positions <= moved.keys():
        raise Unproven("positions are mixed with another axis")
    places = {moved[axis] for axis in x.positions}
    wanted = call.constant("shape")
    if any(wanted[place] not in (call.length, -1) for place in places) or 0 in wanted:
        raise Unproven("its shape is not written out")

    def shorter(lengths: tuple[int, ...], count: int) -> tuple[int, ...]:
        return tuple(
            count if place in places and length != -1 else length
            for place, length in enumerate(lengths)
        )

    call.edits["shape"] = shorter
    found = _moved(call, replace(x, norm=None), moved)
    if x.norm and x.norm[0] == len(x.shape) - 1:
        before, after = x.shape[-1], shape[-1]
        # A part is no longer than the whole, and k parts at most √k times as long as the longest.
        if before % after == 0 or after % before == 0:
            parts = max(1.0, after / before)
            found = replace(found, norm=(len(shape) - 1, x.norm[1] * math.sqrt(parts)))
    return found


@rule("slice_by_index")
def slice_by_index(call: Call) -> Fact:
    """All positions, or the first alone, which is never padding."""
    call.only("x", "begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask")
    x = call.fact("x")
    rank = len(x.shape)
    begin, end = call.constant("begin"), call.constant("end")
    none = (0,) * rank
    open_begin, open_end, single = (
        call.constant(name) or none for name in ("begin_mask", "end_mask", "squeeze_mask")
    )
    if call.constant("stride") not in (None, (1,) * rank):
        raise Unproven("it leaves elements out")
    whole = set()
    for axis in x.positions:
        from_first = bool(open_begin[axis]) or begin[axis] == 0
        if not from_first:
            raise Unproven("it takes positions from the middle")
        if single[axis] or (not open_end[axis] and end[axis] == 1):
            continue
        if not open_end[axis] and end[axis] != call.length:
            raise Unproven("it takes some positions")
        whole.add(axis)
    kept_axes = [axis for axis in range(rank) if not single[axis]]
    places = {axis: place for place, axis in enumerate(kept_axes)}

    def shorter(stops: tuple[int, ...], count: int) -> tuple[int, ...]:
        return tuple(count if axis in whole else stop for axis, stop in enumerate(stops))

    call.edits["end"] = shorter
    norm = x.norm and (places[x.norm[0]], x.norm[1]) if x.norm and x.norm[0] in places else None
    return Fact(call.shape, frozenset(places[axis] for axis in whole), x.largest, norm)


@rule("reduce_sum")
def reduce_sum(call: Call) -> Fact:
    """Over positions: what stands at padding must be zero, as in a mean of the text's vectors."""
    call.only("x", "axes", "keep_dims")
    x = call.fact("x")
    rank = len(x.shape)
    axes = call.constant("axes")
    summed = {axis % rank for axis in (range(rank) if axes is None else axes)}
    if any(axis != x.zero and not x.is_mask for axis in x.positions & summed):
        raise Unproven("it sums over padding")
    keeps = call.constant("keep_dims", default=False)
    left = [axis for axis in range(rank) if keeps or axis not in summed]
    places = {axis: place for place, axis in enumerate(left)}
    terms = math.prod(x.shape[axis] for axis in summed)
    where = frozenset(places[axis] for axis in x.positions - summed)
    return Fact(call.shape, where, x.largest * terms)


def _moved(call: Call, x: Fact, places: dict[int, int]) -> Fact:
    """The same numbers with axes elsewhere; what an axis says goes with it."""
    return Fact(
        call.shape,
        frozenset(places[axis] for axis in x.positions),
        x.largest,
        norm=x.norm and (places[x.norm[0]], x.norm[1]),
        levels=x.levels,
        is_mask=x.is_mask,
    )
