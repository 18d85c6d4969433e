"""Float32 TFLite → TFLite with the weights that a recipe asks for."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.recipes import WeightsRule
from export.targets.base import WeightInfo
from export.targets.tflite._describe import describe_model
from export.targets.tflite._empty import repair_empty_channels
from export.targets.tflite._flatbuffer import has_data, load, parse, shape_of, uses
from export.targets.tflite._op_versions import stamp
from export.targets.tflite._packing import packed
from export.targets.tflite._quiet import quiet
from runtime.console import note
from runtime.errors import UserError
from runtime.files import write_atomically
from runtime.sessions.litert_file import SCALE, text, type_name

if TYPE_CHECKING:
    from export.recipes import Recipe

# Kind of weight → (operator, granularity in a recipe → the quantizer's name for it).
_KINDS = {
    "linear": ("FULLY_CONNECTED", {"channel": "CHANNELWISE", "tensor": "TENSORWISE"}),
    "embedding": ("EMBEDDING_LOOKUP", {"row": "CHANNELWISE", "tensor": "TENSORWISE"}),
}
_BITS = {"int8": 8, "int4": 4}
_BLOCKS = (32, 64, 128, 256)
# What `export.rounding` did to the weights before the conversion is what min-max finds again.
_ALGORITHMS = {
    "minmax": "MIN_MAX_UNIFORM_QUANT",
    "mse": "MIN_MAX_UNIFORM_QUANT",
    "gptq": "MIN_MAX_UNIFORM_QUANT",
    "octav": "OCTAV",
}
_FLOAT = WeightsRule("float32", "none", "none")
_SIGNATURE_MARK = "@"
# Of the quantizer's tensors with the scales of blocks, behind the weight's name.
_QUANTIZER_SCALES = "_scales"

# (kind of weight, its rule) → names of the operators' results, as the quantizer sees them.
_Wanted = dict[tuple[str, WeightsRule], list[str]]


def quantized_from_float(float_artifact: Path, recipe: Recipe, destination: Path) -> None:
    """See `export.targets.tflite.quantize`."""
    model = load(float_artifact)
    before = describe_model(model, str(float_artifact)).weights
    if any(weight.scales for weight in before):
        raise UserError(
            f"{float_artifact} is quantized already", todo="start from the float32 file"
        )
    marked = _with_unique_names(model)
    if wanted := _wanted(marked, recipe):
        _tell_of_blocks(wanted, recipe.name)
        model = parse(_run_quantizer(bytes(packed(marked)), wanted), "the quantizer's file")
        _strip_marks(model)
        repair_empty_channels(model)
        stamp(model)
    _check_result(before, describe_model(model, "the quantized file").weights, recipe)
    write_atomically(destination, bytes(packed(model)))


def _wanted(model: Any, recipe: Recipe) -> _Wanted:
    """Which operators' weights follow which rule; those that stay float32 are left out.

    Raises:
        UserError: TFLite cannot do what a rule says, or a rule is for a weight that is not there.
    """
    kinds = {operator: kind for kind, (operator, _) in _KINDS.items()}
    found: _Wanted = defaultdict(list)
    seen = set()
    for graph, operator, name in uses(model):
        if name not in kinds:
            continue
        weight = graph.tensors[operator.inputs[1]]
        if not has_data(model, weight):
            continue
        parameter = _without_mark(text(weight.name))
        rule = recipe.rule_for(parameter, kinds[name])
        seen.add(parameter)
        if rule.precision != "float32":
            _check_rule(kinds[name], rule, recipe.name, parameter, shape_of(weight))
            result = text(graph.tensors[operator.outputs[0]].name)
            found[kinds[name], rule].append(result)
    if missing := sorted(set(recipe.layers) - seen):
        raise UserError(
            f"recipe {recipe.name} has a rule for {missing[0]}",
            why="the model has no such linear layer or embedding",
            todo=f"name one of its own, such as {min(seen, default='classifier.weight')}",
        )
    return found


def _check_rule(
    kind: str, rule: WeightsRule, recipe: str, parameter: str, shape: tuple[int, ...]
) -> None:
    granularities = (*_KINDS[kind][1], *(("block",) if rule.precision == "int4" else ()))
    for field, value, known in (
        ("precision", rule.precision, ("float32", *_BITS)),
        ("granularity", rule.granularity, granularities),
        ("algorithm", rule.algorithm, tuple(_ALGORITHMS)),
    ):
        if value not in known:
            raise UserError(
                f"recipe {recipe} asks for {kind} weights of {field} {value!r}",
                why=f"TFLite has {', '.join(known)} for them",
            )
    if rule.granularity != "block":
        return
    if rule.block not in _BLOCKS or rule.scale != "bfloat16":
        raise UserError(
            f"recipe {recipe} asks for blocks of {rule.block} with {rule.scale} scales",
            why=f"LiteRT has blocks of {', '.join(map(str, _BLOCKS))} with bfloat16 scales",
        )
    if shape[-1] % rule.block:
        raise UserError(
            f"recipe {recipe} does not fit {parameter}, which has {shape[-1]} columns",
            why=f"a block is {rule.block} of them, and none may be left over",
            todo="choose a recipe without blocks, such as int8",
        )


def _tell_of_blocks(wanted: _Wanted, recipe: str) -> None:
    # Seen with ai-edge-litert 2.1.0, 2.1.6, 2.2.0 and 2.3.0; no version of an operator refuses it.
    if any(kind == "linear" and rule.granularity == "block" for kind, rule in wanted):
        note(
            f"  recipe {recipe}: linear weights in blocks are right only with XNNPACK "
            "(LiteRT 2.1.0 or newer); an app that turns it off may get garbage without an error"
        )


def _with_unique_names(model: Any) -> Any:
    """A copy of the tables with the signature's number in each name.

    The quantizer keeps its results by tensor name and refuses a name that two signatures share.
    """
    out = copy.copy(model)
    out.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for number, graph in enumerate(out.subgraphs):
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for tensor in graph.tensors:
            tensor.name = f"{text(tensor.name)}{_SIGNATURE_MARK}{number}"
    return out


def _without_mark(name: str) -> str:
    return name.rpartition(_SIGNATURE_MARK)[0]


def _strip_marks(model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            name = text(tensor.name)
            scales = SCALE if name.endswith(_QUANTIZER_SCALES) and _is_half(tensor) else ""
            tensor.name = _without_mark(name) + scales


def _is_half(tensor: Any) -> bool:
    return type_name(tensor) == "FLOAT16"


def _run_quantizer(data: bytes, wanted: _Wanted) -> bytes:
    with quiet():
        # Imported here, since that alone prints.
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

        job: Any = quantizer.Quantizer(data)
        for (kind, rule), results in wanted.items():
            operator, granularities = _KINDS[kind]
            granularity = granularities.get(rule.granularity, f"BLOCKWISE_{rule.block}")
            job.add_dynamic_config(
                # The quantizer writes a semicolon behind each of an operator's results.
                regex=f"^({'|'.join(map(re.escape, results))});",
                operation_name=qtyping.TFLOperationName[operator],
                num_bits=_BITS[rule.precision],
                granularity=qtyping.QuantGranularity[granularity],
                algorithm_key=algorithm_manager.AlgorithmName[_ALGORITHMS[rule.algorithm]],
            )
        result = job.quantize(enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)


def _check_result(
    before: tuple[WeightInfo, ...], after: tuple[WeightInfo, ...], recipe: Recipe
) -> None:
    """Every weight is still there, at the precision that was asked for.

    The quantizer leaves out in silence what it cannot do.
    """
    kept = {(weight.name, weight.shape, weight.role) for weight in after}
    for weight in before:
        if (weight.name, weight.shape, weight.role) not in kept:
            raise UserError(f"the quantizer lost {weight.name}", why=f"recipe {recipe.name}")
    for weight in after:
        known = weight.role in _KINDS
        rule = recipe.rule_for(weight.name, weight.role) if known else _FLOAT
        scales = _scales_of(weight, rule)
        if (weight.precision, weight.scales) != (rule.precision, scales):
            raise UserError(
                f"the quantizer did not follow recipe {recipe.name}",
                why=f"{weight.name} is {weight.precision} with {weight.scales} scales, not "
                f"{rule.precision} with {scales}",
            )


def _scales_of(weight: WeightInfo, rule: WeightsRule) -> int:
    """How many scales a rule gives a weight."""
    if rule.precision == "float32":
        return 0
    if rule.granularity == "tensor":
        return 1
    return weight.elements // rule.block if rule.granularity == "block" else weight.shape[0]
