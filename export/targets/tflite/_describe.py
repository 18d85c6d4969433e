"""What a TFLite file holds, read from its tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.targets.base import Description, WeightInfo
from export.targets.rest import rest_of
from export.targets.tflite._flatbuffer import has_data, load, shape_of, uses
from export.targets.tflite._op_versions import minimum_runtime
from runtime.constants_digest import digest
from runtime.errors import UserError
from runtime.manifest import TensorSpec
from runtime.sessions.litert_file import SCALE, ZERO_POINT, constants, text, type_name
from runtime.sessions.litert_weights import is_blockwise, scale_count

_SMALLEST_WEIGHT = 256
# Shapes, axes and positions: part of the graph, not weights.
_INDICES = ("INT32", "INT64", "BOOL")
# Role → operator, place of the weight among its inputs. Where two use one weight the first wins.
_ROLES = (("linear", "FULLY_CONNECTED", 1), ("embedding", "EMBEDDING_LOOKUP", 1))


def description_of(artifact: Path) -> Description:
    """See `export.targets.tflite.describe`."""
    model = load(artifact)
    try:
        description = describe_model(model, str(artifact))
        return replace(description, weights=_with_digests(model, description.weights))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        # The verifier checks offsets, not whether a tensor's number exists or a vector is there.
        raise UserError(
            f"{artifact} is damaged", why=repr(error), todo="export it again"
        ) from error


def describe_model(model: Any, origin: str) -> Description:
    """As `description_of`, from a ``ModelT`` and without hashes.

    Raises:
        UserError: signatures are missing, or do not differ in their length alone.
    """
    signatures = _signatures(model, origin)
    lengths = tuple(sorted(signatures))
    first_inputs, first_outputs = signatures[lengths[0]]
    free = len(lengths) > 1
    inputs = tuple(
        TensorSpec(spec.name, spec.dtype, (spec.shape[0], "length")) if free else spec
        for spec in first_inputs
    )
    return Description(
        inputs=inputs,
        outputs=first_outputs,
        lengths=lengths,
        minimum_runtime=minimum_runtime(model),
        weights=_weights(model),
        operators=dict(sorted(Counter(name for _, _, name in uses(model)).items())),
    )


_Tensors = tuple[TensorSpec, ...]


def _signatures(model: Any, origin: str) -> dict[int, tuple[_Tensors, _Tensors]]:
    """Length → (inputs in the graph's order, outputs)."""
    found: dict[int, tuple[_Tensors, _Tensors]] = {}
    for signature in model.signatureDefs or []:
        graph = model.subgraphs[signature.subgraphIndex]
        maps = sorted(signature.inputs, key=lambda m: list(graph.inputs).index(m.tensorIndex))
        inputs = tuple(_spec(graph, entry) for entry in maps)
        outputs = tuple(_spec(graph, entry) for entry in signature.outputs)
        shapes = {spec.shape for spec in inputs}
        shape = shapes.pop() if len(shapes) == 1 else ()
        if len(shape) != 2 or text(signature.signatureKey) != f"seq_{shape[1]}":
            raise UserError(
                f"{origin} has the signature {text(signature.signatureKey)!r}",
                why="a signature is called seq_LENGTH and its inputs are [1, LENGTH]",
            )
        found[int(shape[1])] = (inputs, outputs)
    if not found:
        raise UserError(f"{origin} has no signature", why="one for each length is needed")
    if len({outputs for _, outputs in found.values()}) > 1:
        raise UserError(f"{origin} has signatures with different outputs")
    return found


def _spec(graph: Any, entry: Any) -> TensorSpec:
    tensor = graph.tensors[entry.tensorIndex]
    return TensorSpec(text(entry.name), type_name(tensor).lower(), shape_of(tensor))


def _weights(model: Any) -> tuple[WeightInfo, ...]:
    """Every stored weight of 256 elements or more, once per buffer, in the file's order."""
    roles: dict[int, str] = {}
    for role, operator_name, place in reversed(_ROLES):
        for graph, operator, name in uses(model):
            if name == operator_name:
                roles[graph.tensors[operator.inputs[place]].buffer] = role
    found: dict[int, WeightInfo] = {}
    for graph in model.subgraphs:
        scales = {t.quantization.details.scales for t in graph.tensors if is_blockwise(t)}
        for index, tensor in enumerate(graph.tensors):
            if tensor.buffer in found or not has_data(model, tensor):
                continue
            if type_name(tensor) in _INDICES or index in scales:
                continue
            weight = WeightInfo(
                name=text(tensor.name),
                shape=shape_of(tensor),
                precision=type_name(tensor).lower(),
                role=roles.get(tensor.buffer, "other"),
                scales=scale_count(model, graph, tensor),
            )
            if weight.elements >= _SMALLEST_WEIGHT:
                found[tensor.buffer] = weight
    return tuple(found.values())


def _with_digests(model: Any, weights: tuple[WeightInfo, ...]) -> tuple[WeightInfo, ...]:
    """The weights with their hashes and bits, and the rest of what is stored as one more."""
    stored = constants(model)
    found = []
    for weight in weights:
        parts = (weight.name, weight.name + SCALE, weight.name + ZERO_POINT)
        size = sum(stored[part].nbytes for part in parts if part in stored)
        sha256 = digest(weight.name, stored[weight.name])
        found.append(replace(weight, bits=8 * size / weight.elements, sha256=sha256))
    return (*found, rest_of(stored, {weight.name for weight in weights}))
