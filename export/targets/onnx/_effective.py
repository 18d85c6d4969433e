"""The parameters as an ONNX file stores them, each compared with the original.

A float weight must be the original bit for bit. Of an int8 one every scale must be what the largest
value of its channel or row gives, and every code within half a step of the original: whatever the
quantizer did wrong would otherwise pass as coarse compression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.families.plain import plain_of
from export.recipes import Recipe
from export.targets.base import Effective, Job
from export.targets.parameters import (
    Floats,
    add_twins,
    layer_norm_epsilon,
    original_parameters,
)
from runtime.errors import UserError
from runtime.sessions.onnx_graph import OnnxGraph, open_graph

# What `_quantize` appends to a weight's name: codes, scales, whether codes are [in, out].
_STORED_AS = (("/int8", "/scales", True), ("/int8_rows", "/row_scales", False))
# Every constant from this size on must be a parameter's; smaller ones may belong to the graph.
_SMALLEST_WEIGHT = 256
_ONE = np.ones(1, np.float32)
# In steps, for rounding in float32: a code is at most 127 and is stored exactly.
_ROUNDING = 1e-4
# Below this a float32 has fewer digits.
_TINY = np.finfo(np.float32).tiny


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.onnx.effective`."""
    graph = open_graph(artifact)
    reference = job.source.reference
    plain = plain_of(reference)
    originals = plain.parameters
    turned = _turned(graph)
    divisors = _divisors(graph)
    tensors: dict[str, Floats] = {}
    known = {inverse for inverse, _ in divisors.values()}
    for name, original in originals.items():
        if name in graph.stored:
            known.add(name)
            tensors[name] = _float(name, graph.stored[name], original, turned=name in turned)
            continue
        for codes, scales, is_linear in _STORED_AS:
            if name + codes in graph.stored and name + scales in graph.stored:
                known |= {name + codes, name + scales}
                parts = graph.stored[name + codes], graph.stored[name + scales]
                divisor = divisors[name][1] if name in divisors else _ONE
                wanted = job.divisors.get(name.removesuffix(".weight"), _ONE)
                if not np.array_equal(divisor, wanted if is_linear else _ONE):
                    raise _wrong(name, "its input is divided by something else")
                original_scaled = original * divisor
                values = _int8(name, *parts, original_scaled, job.recipe, is_linear=is_linear)
                tensors[name] = values / divisor
        if name not in tensors and original.ndim == 1 and not original.any():
            tensors[name] = original  # a bias of zeros may be left out
    _refuse_unknown(graph.stored, known, plain.constants(job.source.lengths[-1]))
    add_twins(tensors, originals)
    whole = original_parameters(reference)
    tensors = plain.restored(tensors) | {name: whole[name] for name in plain.unused}
    return Effective(tensors, float(np.float32(layer_norm_epsilon(reference))))


def _turned(graph: OnnxGraph) -> set[str]:
    """Stored matrices that are [in, out], where PyTorch has [out, in]."""
    found = set()
    for node in graph.nodes:
        if node.kind == "MatMul" or (node.kind == "Gemm" and not node.numbers.get("transB")):
            found.add(node.inputs[1])
    return found


def _divisors(graph: OnnxGraph) -> dict[str, tuple[str, Floats]]:
    """Parameter → what the input of its integer product is divided by, with the constant's name."""
    makers = {output: node for node in graph.nodes for output in node.outputs}
    found = {}
    for node in graph.nodes:
        if node.kind != "MatMulInteger":
            continue
        quantized = makers[node.inputs[0]]
        before = makers.get(quantized.inputs[0])
        if before is None or before.kind != "Mul" or not before.name.endswith("/divided"):
            continue
        inverse = before.inputs[1]
        parameter = node.inputs[1].removesuffix("/int8")
        found[parameter] = inverse, 1 / np.asarray(graph.stored[inverse], np.float32)
    return found


def _float(name: str, stored: npt.NDArray[Any], original: Floats, *, turned: bool) -> Floats:
    # More than two axes are no linear layer's: XLNet multiplies by such a parameter as it is.
    values = stored.T if turned and stored.ndim == 2 else stored
    if values.dtype != np.float32:
        raise _wrong(name, f"it is stored in {values.dtype}")
    _check_shape(name, values, original)
    values = np.ascontiguousarray(values)
    same = values.view(np.uint32) == np.ascontiguousarray(original).view(np.uint32)
    if not same.all():
        raise _wrong(name, f"{_count(~same)} elements are not the original's")
    return values


def _int8(
    name: str,
    codes: npt.NDArray[Any],
    scales: npt.NDArray[Any],
    original: Floats,
    recipe: Recipe,
    *,
    is_linear: bool,
) -> Floats:
    """Dequantized values, in PyTorch's order of axes."""
    if codes.dtype != np.int8 or scales.dtype != np.float32:
        raise _wrong(name, f"codes are {codes.dtype} and scales {scales.dtype}")
    codes = codes.T if is_linear else codes
    _check_shape(name, codes, original)
    if scales.size != len(codes):
        raise _wrong(name, f"{scales.size} scales for {len(codes)} channels or rows")
    scales = scales.reshape(-1, 1)
    rule = recipe.linear if is_linear else recipe.embedding
    largest = 64 if rule.reduce_range else 127
    steps = np.abs(original).max(axis=1, keepdims=True) / np.float32(largest)
    steps[steps == 0] = 1  # also where the quotient is too small for a float32
    # Not `>`: NaN must not pass. The last digit of a float32 is 6e-8 of it.
    odd = ~(np.abs(scales - steps) <= 2e-7 * steps + _TINY)
    if odd.any():
        raise _wrong(name, f"{_count(odd)} scales are not the largest value over {largest}")
    if (np.abs(codes.astype(np.int16)) > largest).any():
        raise _wrong(name, f"codes lie outside -{largest} to {largest}")
    values = codes * scales
    odd = ~(np.abs(values - original) <= (0.5 + _ROUNDING) * scales + _TINY)
    if odd.any():
        raise _wrong(name, f"{_count(odd)} elements are more than half a step from the original")
    return np.ascontiguousarray(values)


def _check_shape(name: str, values: npt.NDArray[Any], original: Floats) -> None:
    if values.shape != original.shape:
        raise _wrong(name, f"it has the shape {list(values.shape)}, not {list(original.shape)}")


def _count(where: npt.NDArray[np.bool_]) -> str:
    return f"{int(where.sum())} of {where.size}"


def _wrong(name: str, why: str) -> UserError:
    return UserError(
        f"the stored weight {name} is not what the recipe makes of the original",
        why=why,
        todo="export again; if it stays, report it",
    )


def _refuse_unknown(
    stored: Mapping[str, npt.NDArray[Any]], known: set[str], own: Sequence[Floats]
) -> None:
    """`own` are constants that the module knows by itself."""
    for name, array in stored.items():
        is_number = array.dtype == np.int8 or array.dtype.kind == "f"
        if name in known or any(np.array_equal(array.ravel(), value.ravel()) for value in own):
            continue
        if is_number and array.size >= _SMALLEST_WEIGHT:
            raise UserError(
                f"the file stores {name} {list(array.shape)}", why="it is no weight of the model's"
            )
