"""Proves of a program that what stands at padded positions cannot change its outputs.

The program has one fixed length, and its mask shuts padding out. For the result not to hang on
padding, three things must hold whatever the text is: attention gives padding a share of exactly
zero; what that zero is multiplied with is finite, for 0·∞ is NaN; and nothing else mixes positions.
All three follow from bounds on every value, which the weights give: a row that was normalised is no
longer than its scale allows, a matrix makes no vector longer than its largest singular value, and
so on from step to step. Where a bound is too wide, nothing is proven, and the program runs in full.
Once positions are gone, as in the head, a step computes the same from the same numbers, whatever
it is and however large they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.coreml_reference.ids import find_id_limits
from runtime.coreml_reference.padding.facts import Edit, Fact, Unproven
from runtime.coreml_reference.padding.registry import RULES, Call
from runtime.coreml_reference.plan import Step, called
from runtime.coreml_reference.program import Function, NamedType, TensorType

_IDS, _MASK = "input_ids", "attention_mask"
# Below the largest finite number of each type.
_LARGEST = {"fp16": 65504.0, "fp32": 3.0e38}
# What a rule raises where a program is of another build than it has in mind.
_UNFORESEEN = (ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Proof:
    """Padding does not matter, and this is how the program runs without it.

    Attributes:
        length: the fixed sequence length.
        positions: name of a value → its axes that count positions.
        edits: for each step, parameter → what becomes of its constant.
    """

    length: int
    positions: Mapping[str, frozenset[int]]
    edits: tuple[Mapping[str, Edit], ...]


def prove(function: Function, steps: Sequence[Step]) -> Proof:
    """See the module's text.

    Args:
        function: with the inputs input_ids and attention_mask of one fixed length.
        steps: its plan in the mode ``f16`` or ``f32``.

    Raises:
        Unproven: with the step and the reason.
    """
    facts = _inputs(function)
    length = facts[_IDS].shape[1]
    checked = {limit.operation.name for limit in find_id_limits(function)}
    edits: list[Mapping[str, Edit]] = []
    for step in steps:
        try:
            call = Call(step, length, _operands(step, facts))
            if step.operation.kind == "gather" and step.operation.name not in checked:
                raise Unproven("its ids are not compared with the table before it runs")
            facts |= _conclude(call)
        except (Unproven, *_UNFORESEEN) as reason:
            raise Unproven(f"{called(step.operation)}: {reason}") from reason
        edits.append(call.edits)
    for name in function.outputs:
        if name not in facts or facts[name].positions:
            raise Unproven(f"the output {name} has a value for each position")
    return Proof(length, {name: fact.positions for name, fact in facts.items()}, tuple(edits))


def _inputs(function: Function) -> dict[str, Fact]:
    shapes = {
        named.name: named.type.shape
        for named in function.inputs
        if isinstance(named.type, TensorType)
    }
    shape = shapes.get(_IDS, ())
    if shapes.keys() != {_IDS, _MASK} or shapes[_MASK] != shape or len(shape) != 2:
        raise Unproven(f"its inputs are not {_IDS} and {_MASK} of one shape")
    batch, length = shape
    if batch != 1 or length is None:
        raise Unproven("its sequence length is not fixed")
    where = frozenset({1})
    return {
        # Nothing is known of ids but that they find rows of a table.
        _IDS: Fact((1, length), where, float("inf")),
        _MASK: Fact((1, length), where, 1.0, levels=(1.0, 0.0), is_mask=True),
    }


def _operands(step: Step, facts: Mapping[str, Fact]) -> dict[str, Fact]:
    operands = {}
    for argument in step.arguments:
        (source,) = argument.sources if len(argument.sources) == 1 else (None,)
        if not isinstance(source, str):
            raise Unproven(f"{argument.parameter} has several parts")
        operands[argument.parameter] = facts[source]
    return operands


def _conclude(call: Call) -> dict[str, Fact]:
    step = call.step
    if step.operation.kind == "classify":
        # Its outputs are no tensors: the label, and the probabilities by label.
        if call.fact("probabilities").positions:
            raise Unproven("positions are classified")
        return {output.name: Fact((), frozenset(), 1.0) for output in step.outputs}
    try:
        return {step.outputs[0].name: _bounded(call)}
    except (Unproven, *_UNFORESEEN):
        if not call.operands or any(fact.positions for fact in call.operands.values()):
            raise
    call.edits.clear()
    return {output.name: Fact(_shape(output), frozenset(), math.inf) for output in step.outputs}


def _bounded(call: Call) -> Fact:
    step = call.step
    rule = RULES.get(step.operation.kind)
    if rule is None or len(step.outputs) != 1 or step.unrounded:
        raise Unproven("there is no rule for it")
    found = rule(call).rounded()
    declared = step.outputs[0].type
    if isinstance(declared, TensorType):
        limit = _LARGEST.get(declared.dtype)
        # Written so that NaN, which a damaged weight brings, proves nothing.
        if limit is not None and not found.largest < limit:
            raise Unproven(f"its values might reach {found.largest:.3g}")
    return found


def _shape(output: NamedType) -> tuple[int, ...]:
    declared = output.type
    if not isinstance(declared, TensorType) or None in declared.shape:
        raise Unproven(f"{output.name} has no fixed shape")
    return tuple(length or 0 for length in declared.shape)
