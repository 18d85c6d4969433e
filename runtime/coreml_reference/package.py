"""Reads a saved ML program (.mlpackage): the manifest, the model, the metadata of its weights.

Everything is checked here, before anything is run; the weights themselves are read when a value is
loaded. What is held grows with the files' real sizes, never with a size that a file declares.
"""

from __future__ import annotations

from pathlib import Path

from runtime.coreml_reference.blob import WeightFiles
from runtime.coreml_reference.description import check_agreement, read_description
from runtime.coreml_reference.functions import OPSETS, choose_function, read_function
from runtime.coreml_reference.manifest import find_model
from runtime.coreml_reference.program import CoreMLError, Package
from runtime.coreml_reference.values import ValueReader
from runtime.coreml_reference.wire import Message, damaged, parse, shown

_LARGEST_MODEL = 64 << 20
_VERSIONS = range(6, 11)
_PROGRAM_ATTRIBUTES = ("buildInfo",)


def read_package(path: Path) -> Package:
    """Read a package and prove it sound.

    Args:
        path: the ``.mlpackage`` folder.

    Returns:
        The package; its constants are read from the folder when they are loaded, so it must stay.

    Raises:
        CoreMLError: there is no such package; it is damaged, contradicts itself or leaves its
            folder; or it uses something that is not known here.
    """
    stored = find_model(path)
    model = parse(stored.read_all(_LARGEST_MODEL), "Model")
    version = model.number("specificationVersion")
    _check_kind(model, version)
    description, program = model.need("description"), model.need("mlProgram")
    if program.number("version") != 1:
        raise CoreMLError(
            f"the program has the version {program.number('version')}", why="version 1 is known"
        )
    for key, entry in program.entries("attributes"):
        entry.check()
        if key not in _PROGRAM_ATTRIBUTES:
            raise CoreMLError(
                f"the program has the unknown attribute {shown(key)}",
                why="an attribute that is not known may change what the program means",
            )
    name, message = choose_function(program, description.text("defaultFunctionName"))
    folder = stored.relative.rpartition("/")[0]
    with WeightFiles(path, folder) as weights:
        read = read_function(name, message, ValueReader(weights))
        weights.check_overlaps()
    if OPSETS[read.function.opset] > version:
        raise CoreMLError(
            f"the program uses {read.function.opset}, which came after specification {version}",
            why="the model contradicts itself",
            todo="export the model again",
        )
    declared = read_description(description, name)
    check_agreement(declared, read)
    return Package(
        path=path,
        specification_version=version,
        function=read.function,
        inputs=declared.inputs,
        outputs=declared.outputs,
        predicted_feature_name=declared.predicted_feature_name,
        predicted_probabilities_name=declared.predicted_probabilities_name,
        metadata=declared.metadata,
    )


def _check_kind(model: Message, version: int) -> None:
    kind = model.which("Type")
    if not kind:
        raise damaged("it holds no model")
    if kind != "mlProgram":
        raise CoreMLError(
            f"the model is a {kind}, not an ML program",
            why="only ML programs (mlProgram) are run here",
            todo="convert the model with convert_to='mlprogram'",
        )
    if version not in _VERSIONS:
        raise CoreMLError(
            f"the model has the specification version {version}",
            why=f"known are {_VERSIONS[0]} (iOS 15) to {_VERSIONS[-1]} (iOS 26)",
            todo="export for a deployment target from iOS 15 to iOS 26",
        )
    if model.number("isUpdatable"):
        raise CoreMLError(
            "the model is updatable on the device", why="such models are not known to this reader"
        )
