"""The table of rules, and what a rule sees of a step.

There is one rule for each kind of operation: what follows for its result, whatever the text is. A
rule raises `Unproven` where it cannot tell; an operation without a rule proves nothing. Bounds hold
for what the executor computes in the modes ``f16``, exact results rounded once, and ``f32``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.coreml_reference.padding.facts import Edit, Fact, Unproven
from runtime.coreml_reference.plan import Step
from runtime.coreml_reference.program import TensorType


@dataclass(slots=True)
class Call:
    """One step as a rule sees it.

    Attributes:
        length: the fixed sequence length.
        operands: parameter → fact, of those that are computed.
        edits: parameter → what becomes of its constant in a run of n positions; rules add to it.
    """

    step: Step
    length: int
    operands: Mapping[str, Fact]
    edits: dict[str, Edit] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Declared shape of the result."""
        declared = self.step.outputs[0].type
        if not isinstance(declared, TensorType) or None in declared.shape:
            raise Unproven("its result has no fixed shape")
        return tuple(length or 0 for length in declared.shape)

    def fact(self, parameter: str) -> Fact:
        """What is known of a computed operand."""
        if parameter not in self.operands:
            raise Unproven(f"{parameter} is not computed")
        return self.operands[parameter]

    def constant(self, parameter: str, default: Any = None) -> Any:
        """A constant operand."""
        if parameter in self.operands:
            raise Unproven(f"{parameter} is not constant")
        return self.step.fixed.get(parameter, default)

    def only(self, *parameters: str) -> None:
        """Refuse parameters that a rule knows nothing of."""
        given = self.operands.keys() | self.step.fixed.keys()
        if unknown := given - set(parameters):
            raise Unproven(f"{', '.join(sorted(unknown))} has no rule")

    def like(self, x: Fact, *, positions: frozenset[int] | None = None, largest: float) -> Fact:
        """The result's fact with nothing but a bound."""
        where = x.positions if positions is None else positions
        return Fact(self.shape, where, largest)


Rule = Callable[[Call], Fact]

RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Enter a rule under one or more kinds of operation."""

    def enter(function: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = function
        return function

    return enter
