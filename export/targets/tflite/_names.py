"""Tensor names that a reader knows: the parameter's own, or the module's and the operator's.

The converter's names hold Python class paths of 200 characters and counters that differ between
signatures. Ours are short, and the same in every signature, so that each is stored once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from export.targets.tflite._flatbuffer import has_data, operator_name, shape_of, values_of
from export.targets.tflite._positions import Parameters
from runtime.sessions.litert_file import text, type_name

# ``package.module.ClassName_attribute``: what is wanted is the attribute.
_COMPONENT = re.compile(r"^(?:.*\.)?[A-Za-z0-9]+_(?P<attribute>\w+)$")


def rename(model: Any, matcher: Matcher, root: str) -> None:
    """Name every tensor; names are unique within a signature and equal between signatures.

    Args:
        model: ``ModelT``, changed in place.
        matcher: finds the parameter that a stored tensor is.
        root: prefix of module paths that says nothing, such as ``reference.model.``.
    """
    parameters = matcher.parameters
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        graph.name = signature.signatureKey
        paths = [_module_path(text(tensor.name), root) for tensor in graph.tensors]
        names = {m.tensorIndex: text(m.name) for m in (*signature.inputs, *signature.outputs)}
        for index, tensor in enumerate(graph.tensors):
            if index not in names and has_data(model, tensor):
                wanted = matcher.names(tensor) or [f"{paths[index]}/constant".lstrip("/")]
                names[index] = _free_name(wanted, names)
        for operator in graph.operators:
            kind = operator_name(model.operatorCodes[operator.opcodeIndex])
            inputs, output = list(operator.inputs), int(operator.outputs[0])
            path = paths[output]
            if kind in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP"):
                # The matrix knows its module; the converter names a fused output after another.
                matrix = names.get(inputs[1], "")
                path = matrix.removesuffix(".weight") if matrix in parameters else path
                if matrix in parameters and len(inputs) > 2 and inputs[2] in names:
                    # LayerNorm's bias was folded into this one, so it equals no parameter.
                    del names[inputs[2]]
                    names[inputs[2]] = _free_name([f"{path}.bias"], names)
            if output not in names:
                names[output] = _free_name([f"{path}/{kind}".lstrip("/")], names)
        for index, tensor in enumerate(graph.tensors):
            tensor.name = names.get(index, f"unnamed_{index}")


class Matcher:
    """Finds the parameters that a stored tensor may be.

    Attributes:
        parameters: of the model, by name.
    """

    def __init__(self, model: Any, parameters: Parameters) -> None:
        """Prepare to compare a ``ModelT``'s tensors with parameters."""
        self._model = model
        self.parameters = parameters
        self._by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, values in parameters.items():
            self._by_shape[_without_ones(values.shape)].append(name)
        self._known: dict[tuple[int, tuple[int, ...]], list[str]] = {}

    def names(self, tensor: Any) -> list[str]:
        """Parameters of the same values, or else of the same values up to a folded factor."""
        if type_name(tensor) != "FLOAT32" or not shape_of(tensor):
            return []
        if text(tensor.name) in self.parameters:
            return [text(tensor.name)]
        # Signatures share buffers: each is compared once.
        key = (tensor.buffer, shape_of(tensor))
        if key not in self._known:
            values = values_of(self._model, tensor)
            near = self._by_shape.get(_without_ones(values.shape), [])
            self._known[key] = [
                name
                for name in near
                if np.array_equal(self.parameters[name].ravel(), values.ravel())
            ] or [name for name in near if _is_scaled(values, self.parameters[name])]
        return self._known[key]


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without leading axes of one element, which the converter adds to what is added."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _free_name(wanted: list[str], names: dict[int, str]) -> str:
    """The first name that is not taken, with a number if all are."""
    taken = set(names.values())
    for name in wanted:
        if name not in taken:
            return name
    number = 2
    while f"{wanted[0]}_{number}" in taken:
        number += 1
    return f"{wanted[0]}_{number}"


def _module_path(name: str, root: str) -> str:
    """``a.B_model/c.D_layer/e.F_0;3`` → ``model.layer.0``, without `root`."""
    found = [_COMPONENT.match(part) for part in name.partition(";")[0].split("/")]
    path = ".".join(match["attribute"] for match in found if match)
    return path.removeprefix(root) if path.startswith(root) else ""


def _is_scaled(values: npt.NDArray[Any], parameter: npt.NDArray[np.float32]) -> bool:
    """Whether `values` is `parameter` with a factor per column.

    The converter folds a LayerNorm's weight and the attention's 1/√d into the next matrix.
    """
    if values.ndim != 2 or values.shape != parameter.shape:
        return False
    slack = 1e-5 * float(np.abs(values).max())
    for part in (slice(8), slice(None)):  # a few rows first: most candidates fail there
        ours, theirs = values[part].astype(np.float64), parameter[part].astype(np.float64)
        norm = (theirs * theirs).sum(axis=0)
        factor = (ours * theirs).sum(axis=0) / np.where(norm > 0, norm, 1.0)
        if not np.allclose(ours, theirs * factor, rtol=0, atol=slack):
            return False
    return True
