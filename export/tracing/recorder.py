"""Listens to a model's modules while it runs: shapes, sizes of numbers, and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from export.tracing.document import Floats, Part, Stage

_TIMED_RUNS = 3
_UNCHANGED = (torch.nn.Dropout, torch.nn.Identity)


@dataclass(slots=True)
class Call:
    """One call of a module."""

    name: str
    module: torch.nn.Module
    began: float
    ended: float = 0.0
    read: torch.Tensor | None = None
    gave: torch.Tensor | None = None


@dataclass(slots=True)
class _Ear:
    calls: list[Call] = field(default_factory=list)
    open: list[Call] = field(default_factory=list)


@contextmanager
def _listening(modules: dict[str, torch.nn.Module], *, keep: bool) -> Iterator[list[Call]]:
    """Calls of the modules, in the order in which they begin."""
    ear = _Ear()
    handles = []
    for name, module in modules.items():

        def before(inner: torch.nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            call = Call(name, inner, time.perf_counter())
            if keep:
                call.read = _tensor(given)
            ear.calls.append(call)
            ear.open.append(call)

        def after(inner: torch.nn.Module, _: tuple[Any, ...], out: Any) -> None:
            call = ear.open.pop()
            while call.module is not inner:  # one that left by an exception
                call = ear.open.pop()
            call.ended = time.perf_counter()
            if keep:
                call.gave = _tensor(out)

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield ear.calls
    finally:
        for handle in handles:
            handle.remove()


def _tensor(value: Any) -> torch.Tensor | None:
    """The tensor that a module read or gave, or the first one of several."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (tuple, list)) and value:
        return _tensor(value[0])
    return None


@dataclass(frozen=True, slots=True)
class Recording:
    """What was heard.

    Attributes:
        stages: in the order of the computation.
        head_vector: float32 [dim], what the last linear layer read.
    """

    stages: tuple[Stage, ...]
    head_vector: Floats


def record(model: torch.nn.Module, forward: Callable[[], Any], layers: int) -> Recording:
    """Run a model a few times and note what its modules give.

    Works for any model whose encoder keeps its blocks in a ModuleList, shared blocks included.

    Args:
        model: a classifier, in eval mode.
        forward: runs it on one text.
        layers: how many blocks the text goes through.
    """
    lists = {
        name: dict(module.named_children())
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList)
    }
    members = {
        f"{name}.{child}": module
        for name, found in lists.items()
        for child, module in found.items()
    }
    with _listening(members, keep=False) as calls:
        forward()
    blocks = _blocks(lists, calls, layers)
    times: list[list[float]] = []
    for _ in range(_TIMED_RUNS):
        with _listening(blocks, keep=False) as calls:
            forward()
        times.append([1e3 * (call.ended - call.began) for call in calls])
    leaves = {
        name: module
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children()) and not isinstance(module, _UNCHANGED)
    }
    with _listening({**blocks, **leaves}, keep=True) as calls:
        forward()
    milliseconds = [median(column) for column in zip(*times, strict=True)]
    return Recording(tuple(_stages(calls, set(blocks), milliseconds)), _last_read(calls))


def _blocks(
    lists: dict[str, dict[str, torch.nn.Module]], calls: list[Call], layers: int
) -> dict[str, torch.nn.Module]:
    """The blocks: of the lists whose members were called once a layer, the outermost.

    A list inside a block may have as many calls; one outside may be shorter than the layers are
    many, where blocks share weights, as ALBERT's do.
    """
    for name, found in sorted(lists.items(), key=lambda item: item[0].count(".")):
        own = {f"{name}.{child}": module for child, module in found.items()}
        if own and sum(call.name in own for call in calls) == layers:
            return own
    return {}


def _stages(calls: list[Call], blocks: set[str], milliseconds: list[float]) -> Iterator[Stage]:
    number = 0
    inside: Call | None = None
    part: Part = "embeddings"
    for call in calls:
        if call.name in blocks:
            number += 1
            inside, part = call, "block"
            made = _stage(f"block {number}", call, part, number, milliseconds[number - 1])
        else:
            if inside is not None and call.began > inside.ended:
                part = "head" if number == len(milliseconds) else "block"
            made = _stage(call.name, call, part, 0 if part == "head" else number, None)
        if made is not None:
            yield made


def _stage(
    name: str, call: Call, part: Part, block: int, milliseconds: float | None
) -> Stage | None:
    value = call.gave
    if value is None or not value.is_floating_point() or value.numel() == 0:
        return None
    x = value.detach().double()
    return Stage(
        name=name,
        part=part,
        block=block,
        shape=tuple(value.shape),
        mean=float(x.mean()),
        std=float(x.std(correction=0)),
        norm=float(x.norm(dim=-1).mean()),
        milliseconds=milliseconds,
    )


def _last_read(calls: list[Call]) -> Floats:
    """What the last linear layer read, [dim]."""
    linear = [call for call in calls if isinstance(call.module, torch.nn.Linear)]
    read = linear[-1].read
    if read is None:
        raise RuntimeError("the last linear layer read no tensor")
    vector: Floats = read.detach().float().reshape(-1, read.shape[-1])[-1].numpy()
    return vector
