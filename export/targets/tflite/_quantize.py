"""Float32 TFLite → TFLite with the weights that a recipe asks for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.recipes import WeightsRule
from export.targets.base import WeightInfo
from export.targets.tflite._describe import describe_model
from export.targets.tflite._flatbuffer import load, parse, values_of
from export.targets.tflite._op_versions import stamp
from export.targets.tflite._packing import packed
from export.targets.tflite._quiet import quiet
from runtime.errors import UserError
from runtime.files import write_atomically
from runtime.sessions.litert_file import text, type_name

if TYPE_CHECKING:
    from export.recipes import Recipe

# Kind of weight → (operator, granularity in a recipe → the quantizer's name for it).
_KINDS = {
    "linear": ("FULLY_CONNECTED", {"channel": "CHANNELWISE", "tensor": "TENSORWISE"}),
    "embedding": ("EMBEDDING_LOOKUP", {"row": "CHANNELWISE", "tensor": "TENSORWISE"}),
}
_ALGORITHMS = {"minmax": "MIN_MAX_UNIFORM_QUANT", "octav": "OCTAV"}
_FLOAT = WeightsRule("float32", "none", "none")
_SIGNATURE_MARK = "@"


def quantized_from_float(float_artifact: Path, recipe: Recipe, destination: Path) -> None:
    """See `export.targets.tflite.quantize`."""
    rules = {"linear": recipe.linear, "embedding": recipe.embedding}
    for kind, rule in rules.items():
        _check_rule(kind, rule, recipe.name)
    model = load(float_artifact)
    before = describe_model(model, str(float_artifact)).weights
    if any(weight.scales for weight in before):
        raise UserError(
            f"{float_artifact} is quantized already", todo="start from the float32 file"
        )
    if any(rule.precision == "int8" for rule in rules.values()):
        model = parse(_run_quantizer(_with_unique_names(model), rules), "the quantizer's file")
        _strip_marks(model)
        _repair_empty_channels(model)
        stamp(model)
    _check_result(before, describe_model(model, "the quantized file").weights, rules, recipe.name)
    write_atomically(destination, bytes(packed(model)))


def _check_rule(kind: str, rule: WeightsRule, recipe: str) -> None:
    if rule.precision == "float32":
        return
    granularities = _KINDS[kind][1]
    for field, value, known in (
        ("precision", rule.precision, ("float32", "int8")),
        ("granularity", rule.granularity, tuple(granularities)),
        ("algorithm", rule.algorithm, tuple(_ALGORITHMS)),
    ):
        if value not in known:
            raise UserError(
                f"recipe {recipe} asks for {kind} weights of {field} {value!r}",
                why=f"TFLite has {', '.join(known)} for them",
            )


def _with_unique_names(model: Any) -> bytes:
    """Bytes of the model with the signature's number in each name.

    The quantizer keeps its results by tensor name and refuses a name that two signatures share.
    """
    out = copy.copy(model)
    out.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for number, graph in enumerate(out.subgraphs):
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for tensor in graph.tensors:
            tensor.name = f"{text(tensor.name)}{_SIGNATURE_MARK}{number}"
    return bytes(packed(out))


def _strip_marks(model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = text(tensor.name).rpartition(_SIGNATURE_MARK)[0]


def _run_quantizer(data: bytes, rules: dict[str, WeightsRule]) -> bytes:
    with quiet():
        # Imported here, since that alone prints.
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

        job: Any = quantizer.Quantizer(data)
        for kind, rule in rules.items():
            if rule.precision != "int8":
                continue
            operator, granularities = _KINDS[kind]
            job.add_dynamic_config(
                regex=".*",
                operation_name=qtyping.TFLOperationName[operator],
                num_bits=8,
                granularity=qtyping.QuantGranularity[granularities[rule.granularity]],
                algorithm_key=algorithm_manager.AlgorithmName[_ALGORITHMS[rule.algorithm]],
            )
        result = job.quantize(enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)


def _repair_empty_channels(model: Any) -> None:
    """Give a channel of zeros the scale 1.

    OCTAV gives it the scale 0, and the integers become 0/0 cast to int8: garbage that differs
    between processors, and a scale that XNNPACK refuses. DistilBERT has such a row: [PAD]'s.
    """
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            quantization = tensor.quantization
            if quantization is None or quantization.scale is None or type_name(tensor) != "INT8":
                continue
            scale = np.array(quantization.scale)
            empty = ~(np.isfinite(scale) & (scale > 0))
            if not empty.any():
                continue
            values = np.array(values_of(model, tensor))
            axis = int(quantization.quantizedDimension)
            np.moveaxis(values, axis, 0)[empty if len(scale) > 1 else slice(None)] = 0
            scale[empty] = 1.0
            model.buffers[tensor.buffer].data = values.reshape(-1).view(np.uint8)
            quantization.scale = scale


def _check_result(
    before: tuple[WeightInfo, ...],
    after: tuple[WeightInfo, ...],
    rules: dict[str, WeightsRule],
    recipe: str,
) -> None:
    """Every weight is still there, at the precision that was asked for.

    The quantizer leaves out in silence what it cannot do.
    """
    kept = {(weight.name, weight.shape, weight.role) for weight in after}
    for weight in before:
        if (weight.name, weight.shape, weight.role) not in kept:
            raise UserError(f"the quantizer lost {weight.name}", why=f"recipe {recipe}")
    for weight in after:
        rule = rules.get(weight.role, _FLOAT)
        rows = 1 if rule.granularity == "tensor" else weight.shape[0]
        scales = rows if rule.precision == "int8" else 0
        if (weight.precision, weight.scales) != (rule.precision, scales):
            raise UserError(
                f"the quantizer did not follow recipe {recipe}",
                why=f"{weight.name} is {weight.precision} with {weight.scales} scales, not "
                f"{rule.precision} with {scales}",
            )
