"""The way of one text through a model, from its words to its label."""

from __future__ import annotations

from export.tracing.document import LabelStep, Stage, TextTrace, TokenStep
from export.tracing.way import trace_text

__all__ = ["LabelStep", "Stage", "TextTrace", "TokenStep", "trace_text"]
