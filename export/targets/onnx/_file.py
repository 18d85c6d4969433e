"""ONNX files in and out: checked, self-contained, the same bytes for the same graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from runtime.errors import UserError
from runtime.files import write_atomically
from runtime.sessions.onnx_file import refuse_external_data

# The lowest version of the file format that opset 20 allows (onnx.helper.VERSION_TABLE), so that
# the oldest runtimes that know the operators also accept the file.
OPSET = 20
IR_VERSION = 9
PRODUCER = "mobile-export"


def read_model(path: Path) -> ir.Model:
    """Read and check a file without following it to other files.

    Raises:
        UserError: missing, not ONNX, damaged, or with weights in other files.
    """
    refuse_external_data(path)
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise UserError(
            f"{path} is not an ONNX file, or is damaged", todo="export or copy it again"
        ) from error
    try:
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        why = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{path} is not a valid ONNX file", why=why, todo="export it again"
        ) from error


def write_model(model: ir.Model, path: Path) -> None:
    """Stamp, check and write a model atomically; its bytes depend on the graph alone."""
    model.ir_version = IR_VERSION
    model.producer_name = PRODUCER
    model.producer_version = None
    proto = ir.to_proto(model)
    # Shapes noted for the weights, which have shapes of their own: other tools that transpose a
    # weight forget to change the note, and then fail.
    del proto.graph.value_info[:]
    data = proto.SerializeToString(deterministic=True)
    del proto
    onnx.checker.check_model(data, full_check=True)
    write_atomically(path, data)
