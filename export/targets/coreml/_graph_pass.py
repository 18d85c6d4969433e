"""Puts compressed constants and quantized activations into coremltools' program.

Imports coremltools: import it inside `_quiet.contained`. coremltools.optimize has passes of its
own; they choose codes with float16 division, divide 0 by 0 for a row of zeros, leave weights out
with a log line, know per-channel scales along one axis alone and calibrate on a Mac alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.mil import Builder, types
from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.helper import block_context_manager

from export.recipes import Recipe
from export.targets.coreml._affine import quantize_affine
from export.targets.coreml._calibrate import PRODUCTS
from export.targets.coreml._palette import palettize
from export.targets.coreml._plan import Decision, decide
from export.targets.coreml._prune import largest
from runtime.coreml_reference.weights import MINIMUM_ELEMENTS, role_of_uses

Array = npt.NDArray[Any]


class CompressWeights(AbstractGraphPass):  # type: ignore[misc]
    """Replaces constants by constexpr operations of the same name."""

    def __init__(self, recipe: Recipe, progress: Callable[[int, int], None]) -> None:
        self.recipe = recipe
        self.progress = progress

    def apply(self, prog: Any) -> None:
        """See the class."""

        @block_context_manager  # type: ignore[untyped-decorator]
        def visit(block: Any) -> None:
            wanted = [
                (op, decision)
                for op in _weights(block)
                if (decision := _decision(op, self.recipe)).rule is not None
            ]
            for number, (op, decision) in enumerate(wanted):
                _substitute(block, op, _compressed(op, decision))
                self.progress(number + 1, len(wanted))

        for function in prog.functions.values():
            visit(function)


class QuantizeActivations(AbstractGraphPass):  # type: ignore[misc]
    """Puts quantize and dequantize before every product with a weight, once per value.

    Raises ValueError for a value that has a scale but is not there.
    """

    def __init__(self, scales: Mapping[str, float]) -> None:
        self.scales = scales

    def apply(self, prog: Any) -> None:
        """See the class."""

        @block_context_manager  # type: ignore[untyped-decorator]
        def visit(block: Any) -> None:
            done: dict[str, Any] = {}
            for op in list(block.operations):
                if op.op_type in PRODUCTS and op.x.name in self.scales:
                    name = op.x.name
                    if name not in done:
                        done[name] = _rounded(op, self.scales[name])
                    inputs = {key: value for key, value in op.inputs.items() if value is not None}
                    inputs["x"] = done[name]
                    new = getattr(Builder, op.op_type)(**inputs, before_op=op, name=op.name)
                    new.name = op.outputs[0].name
                    _substitute(block, op, new)
            if missing := self.scales.keys() - done.keys():
                raise ValueError(f"coremltools has no value called {min(missing)}")

        for function in prog.functions.values():
            visit(function)


def _weights(block: Any) -> list[Any]:
    return [
        op
        for op in block.operations
        if op.op_type == "const"
        and isinstance(op.outputs[0].val, np.ndarray)
        and op.outputs[0].val.dtype.kind == "f"
        and op.outputs[0].val.size >= MINIMUM_ELEMENTS
    ]


def _decision(op: Any, recipe: Recipe) -> Decision:
    weight = op.outputs[0]
    uses = {
        (user.op_type, parameter)
        for user in weight.child_ops
        for parameter, value in user.inputs.items()
        if value is weight or (isinstance(value, (list, tuple)) and weight in value)
    }
    shape = tuple(weight.shape)
    return decide(weight.name, shape, role_of_uses(uses, shape), recipe)


def _compressed(op: Any, decision: Decision) -> Any:
    rule = decision.rule
    if rule is None:
        raise ValueError(f"{decision.name} stays in float")
    weight: Array = op.outputs[0].val
    kept = largest(weight, rule.sparsity) if rule.sparsity else None
    if rule.precision.startswith("lut"):
        bits = int(rule.precision[3:])
        palette = palettize(weight, decision.blocks, bits, kept)
        if kept is None and not is_current_opset_version_compatible_with(AvailableTarget.iOS18):
            return Builder.constexpr_lut_to_dense(
                indices=_packed(palette.codes, bits),
                lut=palette.tables.reshape(-1),
                shape=np.asarray(weight.shape, dtype=np.uint32),
                before_op=op,
                name=op.name,
            )
        codes = palette.codes.astype(_type(f"uint{bits}"))
        tables = palette.tables[..., None]
        if kept is None:
            return Builder.constexpr_lut_to_dense(
                indices=codes, lut=tables, before_op=op, name=op.name
            )
        mask, data = Builder.constexpr_lut_to_sparse(
            indices_mask=kept.astype(_type("uint1")),
            indices_nonzero_data=codes[kept],
            lut=tables,
            before_op=op,
            name=f"{op.name}_sparse",
        )
        return Builder.constexpr_sparse_to_dense(
            nonzero_data=data, mask=mask, before_op=op, name=op.name
        )
    affine = quantize_affine(weight, decision.blocks, rule.precision)
    codes = affine.codes.astype(_type(rule.precision))
    if kept is not None:
        mask, data = Builder.constexpr_sparse_blockwise_shift_scale(
            data_mask=kept.astype(_type("uint1")),
            nonzero_data=codes[kept],
            scale=affine.scale,
            before_op=op,
            name=f"{op.name}_sparse",
        )
        return Builder.constexpr_sparse_to_dense(
            nonzero_data=data, mask=mask, before_op=op, name=op.name
        )
    if is_current_opset_version_compatible_with(AvailableTarget.iOS18):
        offset = {} if affine.offset is None else {"offset": affine.offset.astype(codes.dtype)}
        return Builder.constexpr_blockwise_shift_scale(
            data=codes, scale=affine.scale, **offset, before_op=op, name=op.name
        )
    return Builder.constexpr_affine_dequantize(
        quantized_data=codes,
        zero_point=np.zeros(affine.scale.size, dtype=np.int8),
        scale=affine.scale.reshape(-1),
        axis=np.int32(np.argmax(decision.blocks)),
        before_op=op,
        name=op.name,
    )


def _rounded(op: Any, scale: float) -> Any:
    kind = np.float16 if op.x.dtype == types.fp16 else np.float32
    common = {"scale": kind(scale), "before_op": op}
    codes = Builder.quantize(
        input=op.x, output_dtype="int8", name=f"{op.x.name}_quantized", **common
    )
    return Builder.dequantize(input=codes, name=f"{op.x.name}_dequantized", **common)


def _substitute(block: Any, op: Any, new: Any) -> None:
    block.replace_uses_of_var_after_op(
        anchor_op=op, old_var=op.outputs[0], new_var=new, no_check_var_types=True
    )
    block.remove_ops([op])


def _type(name: str) -> Any:
    return types.nptype_from_builtin(types.string_to_builtin(name))


def _packed(codes: Array, bits: int) -> Array:
    """Indices one after the other without gaps, the lowest bit first."""
    spread = (codes.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & np.uint8(1)
    return np.packbits(spread.reshape(-1), bitorder="little")
