"""Chooses how the reference is put to Core ML's converter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.targets.coreml._ane import AneProgram
from export.targets.coreml._default import DefaultProgram
from export.targets.coreml._program import Program, copy_sharing_parameters
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.reference import LogitsOnly
    from export.targets.coreml._options import Options


def module_for(reference: LogitsOnly, options: Options, activation: str) -> Program:
    """A module that computes what the reference does.

    Args:
        reference: left as it is.
        options: layout, target, outputs and lengths.
        activation: ``softmax`` or ``sigmoid``, for a classifier.

    Returns:
        in eval mode; where the lengths are fixed it runs the longest alone.

    Raises:
        UserError: the model is no DistilBERT classifier.
    """
    original: Any = reference.model
    if original.config.model_type != "distilbert":
        raise UserError(
            f"Core ML is made of DistilBERT alone, not of {original.config.model_type}",
            todo="start from a DistilBERT checkpoint",
        )
    model = copy_sharing_parameters(original)
    size: dict[str, Any] = {"length": options.lengths[-1], "fixed": options.fixed}
    kind = activation if options.outputs == "classifier" else None
    if options.layout == "ane":
        return AneProgram(model, kind, **size).eval()
    return DefaultProgram(model, kind, **size, fused=options.fused_attention).eval()
