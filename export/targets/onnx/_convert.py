"""PyTorch → ONNX: trace, then tidy the graph until only what a device needs is left."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch.nn.functional import gelu

from export.families.plain import plain_of
from export.reference import Reference
from export.targets.onnx._file import OPSET
from export.targets.onnx._lookups import slice_known_lookups
from export.targets.onnx._names import name_after_modules
from export.targets.onnx._one_position import keep_one_position
from export.targets.onnx._reshapes import make_reshapes_static
from export.targets.onnx._transposes import store_transposed
from runtime.errors import UserError

_INPUTS = ("input_ids", "attention_mask")


def onnx_from_reference(reference: Reference) -> ir.Model:
    """Trace the reference and tidy the result.

    Args:
        reference: the logits-only module; it is the same after the call.

    Returns:
        A model with the inputs input_ids and attention_mask, int32 [batch, length], and the output
        logits, float32 [batch, labels], or embedding, float32 [batch, numbers of a vector].

    Raises:
        UserError: the model cannot be traced or needs operators outside the ONNX standard.
    """
    model = _trace(reference)
    foreign = sorted({f"{n.domain}::{n.op_type}" for n in model.graph.all_nodes() if n.domain})
    if foreign:
        raise UserError(
            "the model needs operators that the ONNX standard does not have",
            why=", ".join(foreign),
        )
    store_transposed(model.graph)
    make_reshapes_static(model.graph)
    slice_known_lookups(model.graph)
    # Before anyone counts readers: the shape arithmetic that just lost its purpose reads too.
    common.RemoveUnusedNodesPass()(model)
    keep_one_position(model.graph)
    common.RemoveUnusedOpsetsPass()(model)
    name_after_modules(model.graph)
    _strip(model)
    return model


def _trace(reference: Reference) -> ir.Model:
    module: Any = plain_of(reference, one_position=True, sequence_first=True).module
    # Example sizes of 1 would be taken for constants.
    example = torch.ones((2, min(8, reference.max_positions)), dtype=torch.int32)
    batch = torch.export.Dim("batch", min=1)
    length = torch.export.Dim("length", min=1, max=reference.max_positions)
    axes = {0: batch, 1: length}
    try:
        with _plain_attention(module), _plain_gelu(module), _quiet():
            program = torch.onnx.export(
                module,
                (example, torch.ones_like(example)),
                dynamo=True,
                input_names=_INPUTS,
                output_names=(reference.output,),
                dynamic_shapes=(axes, axes),
                opset_version=OPSET,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        # The message is a page of advice; the cause's first line says what happened.
        cause = error.__cause__ or error
        why = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError("the model cannot be expressed in ONNX", why=why) from error
    if program is None:  # only the older exporter returns nothing
        raise RuntimeError("torch.onnx.export returned no program")
    model: ir.Model = program.model
    return model


@contextmanager
def _plain_attention(module: Any) -> Iterator[None]:
    """Let transformers write attention as MatMul, Add, Softmax, MatMul while tracing.

    torch's fused attention becomes a page of shape arithmetic in ONNX and the numbers are the same
    to the last bits.
    """
    model: Any = getattr(module, "model", None)
    if not hasattr(model, "set_attn_implementation"):
        yield
        return
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _plain_gelu(module: Any) -> Iterator[None]:
    """Let GELU by tanh, as ALBERT has it, be one operator instead of eight.

    transformers writes the formula out; it is the same to the last bits.
    """
    from transformers.activations import NewGELUActivation

    # Not modules in their places: a block that is written out has its activation in hand.
    found = [child for child in module.modules() if isinstance(child, NewGELUActivation)]
    for child in found:
        child.forward = partial(gelu, approximate="tanh")
    try:
        yield
    finally:
        for child in found:
            del child.forward


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks to itself: progress and warnings are the pipeline's to print."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(model: ir.Model) -> None:
    """Drop what says where and when the graph was made, and shapes that any runtime infers."""
    common.ClearMetadataAndDocStringPass()(model)
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph:
        for value in node.outputs:
            if value not in graph.outputs:
                value.shape = value.type = None
