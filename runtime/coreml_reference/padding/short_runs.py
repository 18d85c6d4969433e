"""Runs a program of a fixed length without the positions that are padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.coreml_reference.executor import Executor
from runtime.coreml_reference.padding.facts import Unproven
from runtime.coreml_reference.padding.proof import Proof, prove
from runtime.coreml_reference.plan import Step
from runtime.coreml_reference.program import Array, NamedType, TensorType

# The proof takes about as long as so many runs; whoever wants one answer should not wait for it.
PATIENCE = 8
# Rows that run together: from here on a product is as fast a row as it gets.
_ROWS = 256


class ShortRuns:
    """An executor that leaves padding out where that provably changes nothing.

    In the mode ``f16`` outputs are those of the whole program. In ``f32`` a sum's order, and with
    it its last bits, may depend on how many rows a matrix has.

    Attributes:
        executor: what runs.
        doubt: why nothing is left out; None until it was looked for, empty if padding is left out.
    """

    def __init__(self, executor: Executor, patience: int = PATIENCE) -> None:
        """Run nothing yet.

        Args:
            executor: in the mode ``f16`` or ``f32``.
            patience: so many runs are made in full before the proof is looked for.
        """
        self.executor = executor
        self._patience = patience
        self._plans: dict[int, tuple[Step, ...]] = {}
        self._proof: Proof | None = None
        self.doubt: str | None = None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """As `Executor.run`.

        Args:
            inputs: input_ids and attention_mask, each of the whole length.

        Raises:
            CoreMLError: as `Executor.run`.
        """
        return next(self.run_series([inputs]))

    def run_series(self, series: Sequence[Mapping[str, Array]]) -> Iterator[dict[str, Any]]:
        """As `run` for each in turn; short ones run together, which reads the weights less often.

        Args:
            series: each as for `run`.

        Raises:
            CoreMLError: as `Executor.run`.
        """
        if self.doubt is None:
            if self._patience < len(series):
                self._look()
            self._patience -= len(series)
        if self._proof is None:
            yield from map(self.executor.run, series)
            return
        plans: list[tuple[Step, ...]] = []
        cut: list[Mapping[str, Array]] = []
        rows = 0
        for inputs in series:
            self.executor.check(inputs)
            count = _needed(inputs["attention_mask"])
            if plans and rows + count > _ROWS:
                yield from self.executor.run_together(plans, cut)
                plans, cut, rows = [], [], 0
            plans.append(self._plan(count))
            cut.append({name: values[:, :count] for name, values in inputs.items()})
            rows += count
        yield from self.executor.run_together(plans, cut)

    def _plan(self, count: int) -> tuple[Step, ...]:
        if self._proof is None or count == self._proof.length:
            return self.executor.steps
        if count not in self._plans:
            self._plans[count] = _shortened(self._proof, self.executor.steps, count)
        return self._plans[count]

    def _look(self) -> None:
        with np.errstate(all="ignore"):
            try:
                self._proof, self.doubt = prove(self.executor.function, self.executor.steps), ""
            except Unproven as reason:
                self.doubt = str(reason)


def _needed(mask: Array) -> int:
    """How many positions must run: the text's if nothing but padding follows, else all."""
    values = mask.reshape(-1)
    count = int(np.count_nonzero(values == 1))
    plain = (values[:count] == 1).all() and not values[count:].any()
    return count if plain and count else len(values)


def _shortened(proof: Proof, steps: tuple[Step, ...], count: int) -> tuple[Step, ...]:
    """The plan for so many positions; constants are views of the whole ones."""
    return tuple(
        replace(
            step,
            fixed=dict(step.fixed)
            | {name: edit(step.fixed[name], count) for name, edit in edits.items()},
            outputs=tuple(_with_length(proof, output, count) for output in step.outputs),
        )
        for step, edits in zip(steps, proof.edits, strict=True)
    )


def _with_length(proof: Proof, output: NamedType, count: int) -> NamedType:
    if not isinstance(output.type, TensorType):
        return output
    axes = proof.positions[output.name]
    shape = tuple(
        count if axis in axes else length for axis, length in enumerate(output.type.shape)
    )
    return replace(output, type=replace(output.type, shape=shape))
