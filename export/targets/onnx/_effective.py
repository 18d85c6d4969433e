"""The parameters as an ONNX file stores them, each compared with the original.

A float weight must be the original bit for bit. Of an int8 one every scale must be what the largest
value of its channel or row gives, and every code within half a step of the original; of an int4 one
every scale and code must be the grid's: whatever the quantizer did wrong would otherwise pass as
coarse compression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.families.plain import plain_of
from export.targets.base import Effective, Job
from export.targets.onnx._int4 import CODES, LARGEST_MULTIPLE, PRODUCTS
from export.targets.onnx._proofs import check_float, check_integers, wrong
from export.targets.onnx._stored import integers_of
from export.targets.parameters import (
    Floats,
    add_twins,
    layer_norm_epsilon,
    original_parameters,
)
from runtime.errors import UserError
from runtime.sessions.onnx_graph import OnnxGraph, open_graph
from runtime.sessions.onnx_packed import code_pairs, product_pairs

# Every constant from this size on must be a parameter's; smaller ones may belong to the graph.
_SMALLEST_WEIGHT = 256
_ONE = np.ones(1, np.float32)


def effective_of(artifact: Path, job: Job) -> Effective:
    """See `export.targets.onnx.effective`."""
    graph = open_graph(artifact)
    reference = job.source.reference
    plain = plain_of(reference, one_position=True, sequence_first=True)
    originals = plain.parameters
    turned = _turned(graph)
    divisors = _divisors(graph)
    tensors: dict[str, Floats] = {}
    known = {inverse for inverse, _ in divisors.values()}
    for name, original in originals.items():
        if name in graph.stored:
            known.add(name)
            tensors[name] = check_float(name, graph.stored[name], original, turned=name in turned)
            continue
        try:
            forms = integers_of(graph.stored, name)
        except ValueError as error:
            raise wrong(name, str(error)) from error
        for form in forms:
            known |= form.names
            divisor = divisors[name][1] if name in divisors else _ONE
            wanted = job.divisors.get(name.removesuffix(".weight"), _ONE)
            if not np.array_equal(divisor, wanted if form.kind == "linear" else _ONE):
                raise wrong(name, "its input is divided by something else")
            rule = job.recipe.rule_for(name, form.kind)
            tensors[name] = check_integers(name, form, original * divisor, rule) / divisor
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
    found: dict[str, tuple[str, Floats]] = {}
    for node in graph.nodes:
        if node.kind != "MatMulInteger":
            continue
        quantized = makers[node.inputs[0]]
        before = makers.get(quantized.inputs[0])
        if before is None or before.kind != "Mul" or not before.name.endswith("/divided"):
            continue
        inverse = before.inputs[1]
        parameter = node.inputs[1].removesuffix("/int8")
        found[parameter] = inverse, np.reciprocal(np.asarray(graph.stored[inverse], np.float32))
    return found


def _refuse_unknown(
    stored: Mapping[str, npt.NDArray[Any]], known: set[str], own: Sequence[Floats]
) -> None:
    """`own` are constants that the module knows by itself."""
    tables: dict[str, npt.NDArray[Any]] = {
        PRODUCTS: product_pairs(LARGEST_MULTIPLE),
        CODES: code_pairs().astype(np.float32),
    }
    for name, array in stored.items():
        is_number = array.dtype in (np.int8, np.uint8) or array.dtype.kind == "f"
        if name in tables:
            if array.dtype != tables[name].dtype or not np.array_equal(array, tables[name]):
                raise UserError(
                    f"the file's table {name} is wrong",
                    why="weights are unpacked by it",
                    todo="export again; if it stays, report it",
                )
            continue
        if name in known or any(np.array_equal(array.ravel(), value.ravel()) for value in own):
            continue
        if is_number and array.size >= _SMALLEST_WEIGHT:
            raise UserError(
                f"the file stores {name} {list(array.shape)}", why="it is no weight of the model's"
            )
