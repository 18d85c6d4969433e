"""Operator versions: what keeps an old runtime from running a new file wrongly.

A runtime refuses an operator version that it does not know, and looks at nothing else. The
quantizer leaves the float model's versions, so that tflite-runtime 2.14 loads an int8 file with a
scale per channel, reads only the first scale, and returns garbage without an error.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.targets.tflite._flatbuffer import add_buffer, has_data, uses
from runtime.sessions.litert_file import type_name
from runtime.sessions.litert_weights import is_blockwise, scale_count

# The first LiteRT release. It descends from TensorFlow 2.18, and every file of ours but those with
# scales for blocks was seen to run on it.
_FIRST_LITERT = "1.0.1"
_METADATA = b"min_runtime_version"
_METADATA_BYTES = 16


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one use of an operator needs.

    Attributes:
        version: lowest operator version that stands for this use.
        tensorflow: TensorFlow (and tflite-runtime) release that brought it.
        litert: lowest ai-edge-litert that was seen to answer rightly.
    """

    version: int
    tensorflow: str
    litert: str = _FIRST_LITERT


_HYBRID_LINEAR = Requirement(3, "1.14.0")
_CHANNEL_LINEAR = Requirement(12, "2.17.0")
_INT4_LINEAR = Requirement(12, "2.18.0")
# Right on ai-edge-litert 1.3.0 and from 2.1.0 on; 1.2.0, 1.4.0, 2.0.2 and 2.0.3 answer garbage, and
# earlier ones crash. They know version 13 and not 14, which came with 2.1.0 (for int2 weights).
_BLOCK_INT4_LINEAR = Requirement(14, "2.21.0", "2.1.0")
_HYBRID_LOOKUP = Requirement(3, "1.14.0")
_ROW_LOOKUP = Requirement(4, "2.18.0")
# Right from ai-edge-litert 1.4.0 on; 1.0.1 to 1.3.0 answer garbage. They know version 4 and not 5,
# which came with 2.1.2.
_BLOCK_INT4_LOOKUP = Requirement(5, "2.21.0", "2.1.2")


def requirement(model: Any, graph: Any, operator: Any, name: str) -> Requirement | None:
    """What a use needs beyond the version that the converter gave it; None if nothing."""
    if name not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP"):
        return None
    source, weight = (graph.tensors[operator.inputs[place]] for place in (0, 1))
    scales = scale_count(model, graph, weight)
    if not has_data(model, weight) or scales == 0:
        return None
    if name == "EMBEDDING_LOOKUP":
        return _for_lookup(weight, scales)
    return _for_linear(weight, scales) if type_name(source) == "FLOAT32" else None


def _for_lookup(table: Any, scales: int) -> Requirement:
    if is_blockwise(table):
        return _BLOCK_INT4_LOOKUP
    return _ROW_LOOKUP if scales > 1 else _HYBRID_LOOKUP


def _for_linear(matrix: Any, scales: int) -> Requirement:
    if is_blockwise(matrix):
        return _BLOCK_INT4_LINEAR
    if type_name(matrix) == "INT4":
        return _INT4_LINEAR
    return _CHANNEL_LINEAR if scales > 1 else _HYBRID_LINEAR


def required_versions(model: Any) -> dict[str, int]:
    """Operator name → highest version that its uses need; only operators that need one."""
    found: dict[str, int] = {}
    for graph, operator, name in uses(model):
        need = requirement(model, graph, operator, name)
        if need is not None:
            found[name] = max(need.version, found.get(name, 0))
    return found


def shortfalls_of(model: Any) -> tuple[str, ...]:
    """Uses whose stamped version is below what they need, one line each kind."""
    found = set()
    for graph, operator, name in uses(model):
        need = requirement(model, graph, operator, name)
        version = model.operatorCodes[operator.opcodeIndex].version
        if need is not None and version < need.version:
            found.add(f"{name} has version {version} and needs {need.version}")
    return tuple(sorted(found))


def stamp(model: Any) -> None:
    """Raise operator versions and ``min_runtime_version``, and drop codes without a use.

    Codes without a use are dropped because a runtime refuses a file for any code that it lacks.
    """
    for graph, operator, name in uses(model):
        need = requirement(model, graph, operator, name)
        code = model.operatorCodes[operator.opcodeIndex]
        if need is not None and code.version < need.version:
            operator.opcodeIndex = _code_with_version(model, code, need.version)
    used = sorted({op.opcodeIndex for graph in model.subgraphs for op in graph.operators})
    place = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = place[operator.opcodeIndex]
    _write_minimum(model, minimum_runtime(model)["tensorflow"])


def _code_with_version(model: Any, code: Any, version: int) -> int:
    """Index of a copy of `code` at another version, appended if there is none yet."""
    wanted = copy.copy(code)
    wanted.version = version
    for index, known in enumerate(model.operatorCodes):
        if vars(known) == vars(wanted):
            return index
    model.operatorCodes.append(wanted)
    return len(model.operatorCodes) - 1


def minimum_runtime(model: Any) -> dict[str, str]:
    """Runtime package → lowest version that runs the model rightly.

    TensorFlow's is the converter's figure for the float graph, raised by what the weights need;
    tflite-runtime has TensorFlow's numbers, but ends at 2.14.
    """
    tensorflow, litert = _read_minimum(model), _FIRST_LITERT
    for graph, operator, name in uses(model):
        need = requirement(model, graph, operator, name)
        if need is not None:
            tensorflow = max(tensorflow, need.tensorflow, key=_parts)
            litert = max(litert, need.litert, key=_parts)
    return {"ai-edge-litert": litert, "tensorflow": tensorflow}


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _read_minimum(model: Any) -> str:
    for entry in model.metadata or []:
        if entry.name == _METADATA and model.buffers[entry.buffer].data is not None:
            raw = bytes(bytearray(model.buffers[entry.buffer].data))
            return raw.rstrip(b"\0").decode("ascii", errors="replace")
    return "0"


def _write_minimum(model: Any, version: str) -> None:
    raw = np.frombuffer(version.encode("ascii").ljust(_METADATA_BYTES, b"\0"), dtype=np.uint8)
    entry = schema.MetadataT(name=_METADATA, buffer=add_buffer(model, raw))
    # The converter's other entries are notes to itself.
    model.metadata = [entry]
