"""Runs a saved ML program with numpy alone; see `numerics` for what each mode means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from runtime.coreml_reference.binding import Constants, integers
from runtime.coreml_reference.ids import find_id_limits
from runtime.coreml_reference.inputs import check_inputs
from runtime.coreml_reference.kernels.registry import Context
from runtime.coreml_reference.numerics import FLOAT_TYPES, Mode, Numerics
from runtime.coreml_reference.plan import OPSETS, Step, called, make_plan
from runtime.coreml_reference.program import (
    NUMPY_TYPES,
    Array,
    CoreMLError,
    Function,
    NamedType,
    Operation,
    Package,
    TensorType,
)

Trace = Callable[[Operation, str, Array], None]

# What numpy and Python raise when operands do not fit.
_FAILURES = (
    ArithmeticError,
    AttributeError,
    IndexError,
    MemoryError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class ExecutorSettings:
    """How a program is run.

    Attributes:
        mode: numeric mode, see `numerics`.
        accumulation_block: products that `f16acc` sums between two roundings.
        quantize_activations: False leaves out `quantize` and the `dequantize` of its result, so
            that the graph can be judged apart from the rounding of activations.
    """

    mode: Mode = "f16"
    accumulation_block: int = 32
    quantize_activations: bool = True

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise CoreMLError(f"the mode {self.mode!r} is unknown", why=f"known: {get_args(Mode)}")
        if self.accumulation_block < 1:
            raise CoreMLError("accumulation_block must be at least 1")


class Executor:
    """A program with its constants evaluated and its steps planned; runs any number of times.

    Attributes:
        constants: name → constant; weights as dense arrays of effective values, float32 in the
            modes f32 and f16acc, float64 in f64 and f16. What only compression needs is left out.
        non_finite: names of the values with infinity or NaN in the last run, in order.
    """

    def __init__(self, package: Package, settings: ExecutorSettings | None = None) -> None:
        """Evaluate the constants and plan the steps.

        Raises:
            CoreMLError: the program contradicts itself or needs something unknown.
        """
        chosen = settings or ExecutorSettings()
        function = package.function
        if function.opset not in OPSETS:
            raise CoreMLError(f"the operation set {function.opset!r} is unknown")
        self._package = package
        self._numerics = Numerics(chosen.mode, chosen.accumulation_block)
        self._context = Context(self._numerics, OPSETS[function.opset])
        with np.errstate(all="ignore"):
            self._constants = Constants(function, self._numerics)
            self._steps = make_plan(
                function, self._constants, self._numerics, quantize=chosen.quantize_activations
            )
        self._id_limits = find_id_limits(function)
        self._types = {n.name: n.type for n in function.inputs}
        for operation in function.operations:
            self._types |= {output.name: output.type for output in operation.outputs}
        self.non_finite: tuple[str, ...] = ()

    @property
    def constants(self) -> Mapping[str, Any]:
        """Name → evaluated constant; arrays are read-only."""
        return self._constants

    @property
    def function(self) -> Function:
        """What was planned."""
        return self._package.function

    @property
    def steps(self) -> tuple[Step, ...]:
        """The plan."""
        return self._steps

    def run(self, inputs: Mapping[str, Array], trace: Trace | None = None) -> dict[str, Any]:
        """Run the program once.

        Args:
            inputs: name → array of the declared type and of an allowed shape.
            trace: called after each operation with it, the name of a result and the result in the
                type in which the mode computes. The array must not be written to.

        Returns:
            Name → output. Tensors are in the declared type in the modes f16 and f16acc, else in the
            mode's; a classifier's outputs are the label and a dictionary label → probability.

        Raises:
            CoreMLError: inputs that do not fit the description, ids outside the vocabulary, an
                operation that cannot be computed or whose result is not what it declares.
        """
        self.check(inputs)
        return self.run_steps(self._steps, inputs, trace)

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Refuse inputs as `run` does.

        Raises:
            CoreMLError: inputs that do not fit the description, ids outside the vocabulary.
        """
        check_inputs(self._package, inputs)
        for limit in self._id_limits:
            limit.check(inputs[limit.input])

    def run_steps(
        self, steps: Sequence[Step], inputs: Mapping[str, Array], trace: Trace | None = None
    ) -> dict[str, Any]:
        """As `run`, by another plan of the same program and without a look at the inputs.

        Raises:
            CoreMLError: an operation that cannot be computed or whose result is not what it
                declares.
        """
        return self.run_together([steps], [inputs], trace)[0]

    def run_together(
        self,
        plans: Sequence[Sequence[Step]],
        inputs: Sequence[Mapping[str, Array]],
        trace: Trace | None = None,
    ) -> list[dict[str, Any]]:
        """As `run_steps` for several inputs, step by step: a weight is read once for all of them.

        Rows of a product with a constant matrix become one product. In the mode ``f16`` that
        changes no result, see `numerics`; in others a sum's last bits may depend on the rows.

        Args:
            plans: one for each of `inputs`; plans of this program, which differ in lengths only.
            inputs: as for `run`.
            trace: as for `run`, called for each of the inputs in turn.

        Raises:
            CoreMLError: as `run_steps`.
        """
        non_finite: dict[str, None] = {}
        with np.errstate(all="ignore"):
            runs: list[dict[str, Any]] = [
                {n.name: self._numerics.load(each[n.name]) for n in self._package.function.inputs}
                for each in inputs
            ]
            for steps in zip(*plans, strict=True):
                together = len(runs) > 1 and _takes_rows(steps[0])
                results = (self._joined if together else self._each)(steps, runs)
                for step, values, result in zip(steps, runs, results, strict=True):
                    non_finite |= dict.fromkeys(self._keep(step, result, values, trace))
        self.non_finite = tuple(non_finite)
        return [
            {name: self._output(name, values) for name in self._package.function.outputs}
            for values in runs
        ]

    def _each(self, steps: Sequence[Step], runs: Sequence[dict[str, Any]]) -> list[Any]:
        return [
            self._result(step, _arguments(step, values))
            for step, values in zip(steps, runs, strict=True)
        ]

    def _joined(self, steps: Sequence[Step], runs: Sequence[dict[str, Any]]) -> list[Any]:
        """The results of one product with all rows."""
        given = [_arguments(step, values) for step, values in zip(steps, runs, strict=True)]
        rows = [one["x"].reshape(-1, one["x"].shape[-1]) for one in given]
        result = self._result(steps[0], given[0] | {"x": np.concatenate(rows)})
        parts = np.split(result, np.cumsum([len(part) for part in rows])[:-1])
        return [
            part.reshape(*one["x"].shape[:-1], -1) for part, one in zip(parts, given, strict=True)
        ]

    def _result(self, step: Step, arguments: Mapping[str, Any]) -> Any:
        try:
            return step.run(self._context, **arguments)
        except CoreMLError as error:
            raise CoreMLError(
                f"{called(step.operation)}: {error.what}", why=error.why, todo=error.todo
            ) from error
        except _FAILURES as error:
            raise CoreMLError(f"{called(step.operation)} cannot be run", why=str(error)) from error

    def _keep(
        self, step: Step, result: Any, values: dict[str, Any], trace: Trace | None
    ) -> list[str]:
        """Check and round a step's results and add them to `values`; names of those not finite."""
        non_finite: list[str] = []
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(step.outputs):
            raise CoreMLError(
                f"{called(step.operation)} gives {len(results)} results",
                why=f"{len(step.outputs)} are declared",
            )
        for output, item in zip(step.outputs, results, strict=True):
            value = item
            if isinstance(output.type, TensorType) and step.operation.kind != "classify":
                value = self._checked(step, output, output.type, np.asarray(item))
                if not step.moves and value.dtype.kind == "f" and not _is_finite(value):
                    non_finite.append(output.name)
                if trace is not None:
                    trace(step.operation, output.name, value)
            values[output.name] = value
        for name in step.frees:
            values.pop(name, None)
        return non_finite

    def _checked(self, step: Step, output: NamedType, declared: TensorType, value: Array) -> Array:
        """The result, rounded as the mode asks, if it has the declared type and shape."""
        is_float = declared.dtype in FLOAT_TYPES or step.unrounded
        expected = self._numerics.float_type if is_float else NUMPY_TYPES.get(declared.dtype)
        if expected is None or value.dtype != expected:
            raise CoreMLError(
                f"{called(step.operation)}: {output.name} is {value.dtype}",
                why=f"{declared.dtype} is declared",
            )
        if len(value.shape) != len(declared.shape) or any(
            length not in (None, found)
            for length, found in zip(declared.shape, value.shape, strict=True)
        ):
            raise CoreMLError(
                f"{called(step.operation)}: {output.name} has the shape {value.shape}",
                why=f"{declared.shape} is declared",
            )
        if not step.moves and declared.dtype in FLOAT_TYPES:
            value = self._numerics.store(value, declared.dtype)
        # Whatever writes into its operands by mistake fails instead of changing the result.
        value.flags.writeable = False
        return value

    def _output(self, name: str, values: Mapping[str, Any]) -> Any:
        value = values[name] if name in values else self._constants[name]
        declared = self._types.get(name)
        if not isinstance(value, np.ndarray) or not isinstance(declared, TensorType):
            return value
        if declared.dtype in FLOAT_TYPES and self._numerics.typed:
            return value.astype(NUMPY_TYPES[declared.dtype])
        return value.copy()


def _takes_rows(step: Step) -> bool:
    """Whether each row of `x` is answered by itself, with constants."""
    known = [argument.parameter for argument in step.arguments]
    return step.operation.kind == "linear" and known == ["x"]


def _arguments(step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(step.fixed)
    for argument in step.arguments:
        found = [values[s] if isinstance(s, str) else s for s in argument.sources]
        if argument.sort == "Arrays":
            arguments[argument.parameter] = tuple(found)
        elif argument.sort == "Ints":
            arguments[argument.parameter] = integers(found[0], argument.parameter)
        else:
            arguments[argument.parameter] = found[0]
    return arguments


def _is_finite(value: Array) -> bool:
    # A sum is cheap and not finite if an element is not; a sum may overflow on its own.
    return bool(np.isfinite(np.add.reduce(value, axis=None)) or np.isfinite(value).all())
