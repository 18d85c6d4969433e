"""Pieces of a trace as words, shared by the terminal and the page."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from export.tracing.document import Floats, Stage, TextTrace, TokenStep

ROLLOUT_NOTE = (
    "Attention tells where the classified vector can have come from. It is no proof of why the "
    "label is what it is."
)


def shown_token(token: TokenStep) -> str:
    """A token for a person: its piece of the text, or its name if there is nothing to be seen."""
    seen = any(unicodedata.category(c)[0] not in "CZ" for c in token.text)
    return token.text if seen and not token.special else token.token


def strengths(trace: TextTrace, weights: Floats) -> Floats:
    """Weights as shades, 0 to 1.

    Special tokens take most of the attention of a trained model, so the shades are relative to the
    largest weight of the others.

    Args:
        trace: for its tokens.
        weights: float32 [positions].

    Returns:
        float32 [positions].
    """
    plain = [weights[t.position] for t in trace.tokens if not t.special]
    top = float(max(plain, default=0.0))
    if top <= 0.0:
        return np.zeros_like(weights)
    return np.clip(weights / np.float32(top), 0.0, 1.0)


def special_share(trace: TextTrace, weights: Floats) -> float:
    """Share of the weights that lies on special tokens."""
    return float(sum(weights[t.position] for t in trace.tokens if t.special))


def shown_shape(stage: Stage) -> str:
    """``1 x 15 x 128``."""
    return " x ".join(map(str, stage.shape))


def numbers(values: Sequence[float] | Floats, count: int) -> str:
    """The first few numbers of a vector."""
    told = " ".join(f"{float(value):+.3f}" for value in values[:count])
    return f"{told} ..." if len(values) > count else told


def length_sentence(trace: TextTrace) -> str:
    """How many tokens there are, and what was cut."""
    count = len(trace.tokens)
    if trace.left_out:
        return (
            f"{count} tokens; the text has {trace.left_out} more, which the model does not see "
            f"(longest sequence {trace.max_length})"
        )
    return f"{count} tokens of at most {trace.max_length}"


def largest(weights: Floats, count: int) -> list[int]:
    """Positions of the largest weights, the largest first."""
    return [int(i) for i in np.argsort(-weights, kind="stable")[:count]]
