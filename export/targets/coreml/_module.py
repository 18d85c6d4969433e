"""Chooses how the reference is put to Core ML's converter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.families import families
from export.families.anatomy import ANATOMIES
from export.families.plain.one_position import read_position
from export.families.plain.sharing import copy_sharing_parameters
from export.targets.coreml._ane import AneProgram
from export.targets.coreml._default import DefaultProgram
from export.targets.coreml._mobilebert import MobileBertProgram
from export.targets.coreml._program import Program
from export.targets.coreml._xlnet import XLNetProgram
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import Reference
    from export.targets.coreml._options import Options


# What a reference that gives sentence vectors calls its output.
_VECTORS = "embedding"


def module_for(reference: Reference, options: Options, activation: str) -> Program:
    """A module that computes what the reference does.

    Args:
        reference: left as it is.
        options: layout, target, outputs and lengths.
        activation: ``softmax`` or ``sigmoid``, for a classifier.

    Returns:
        in eval mode; where the lengths are fixed it runs the longest alone.

    Raises:
        UserError: Core ML is not made of models of this family, not in this layout, or a
            classifier is asked for where there are no labels.
    """
    _check(reference, options)
    kind = activation if options.outputs == "classifier" else None
    program = _program(reference, options, kind).eval()
    if reference.output == _VECTORS:
        module: Any = reference.module
        program.pool = module.pool
    return program


def _program(reference: Reference, options: Options, activation: str | None) -> Program:
    family, original = reference.family, reference.module.model
    model = copy_sharing_parameters(original)
    size: dict[str, Any] = {"length": options.lengths[-1], "fixed": options.fixed}
    if family.name == "xlnet":
        return XLNetProgram(model, activation, **size, fused=options.fused_attention)
    size["first"] = family.unused_positions(original.config.pad_token_id or 0)
    if family.name == "mobilebert":
        return MobileBertProgram(model, activation, **size, fused=options.fused_attention)
    size["position"] = read_position(reference.module)
    if options.layout == "ane":
        return AneProgram(model, activation, ANATOMIES[family.name], **size)
    size["fused"] = options.fused_attention
    return DefaultProgram(model, activation, ANATOMIES[family.name], **size)


def _check(reference: Reference, options: Options) -> None:
    family, config = reference.family, reference.module.model.config
    if reference.output == _VECTORS and options.outputs == "classifier":
        raise UserError(
            "sentence vectors have no labels to tell",
            todo="choose the outputs logits, which then are the vectors",
        )
    known = (*ANATOMIES, "mobilebert", "xlnet")
    if family.name not in known:
        titles = ", ".join(families()[name].title for name in sorted(known))
        raise UserError(
            f"Core ML is not made of {family.title} models",
            why=f"it is made of {titles}",
            todo="choose the target onnx",
        )
    if getattr(config, "is_decoder", False):
        raise UserError(
            f"Core ML is not made of a {family.title} decoder",
            why="is_decoder is set in its configuration, and each position sees none after it",
            todo="export an encoder",
        )
    if options.layout == "ane" and family.name not in ANATOMIES:
        reason = {
            "mobilebert": "its layers are narrow, so that there is nothing to win",
            "xlnet": "the shift of its relative positions needs tensors that it avoids",
        }
        raise UserError(
            f"there is no layout ane for {family.title}",
            why=reason[family.name],
            todo="choose the layout default",
        )
