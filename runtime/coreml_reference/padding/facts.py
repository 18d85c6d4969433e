"""What is known of a program's values for every text, padded positions included."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from runtime.coreml_reference.program import Array

# Rounding to fp16 moves a value by at most 2^-11 of itself, or by 2^-25 where it is tiny; what a
# sum of bounds rounds off in float64 is far less. Twice that, to be safe.
ROUNDING = 2.0**-10
_TINY = 2.0**-24

Edit = Callable[[Any, int], Any]


class Unproven(Exception):  # noqa: N818 - no error: the program is then run in full
    """Why nothing can be said of a value."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Of one value, whatever the text is.

    Attributes:
        shape: as declared, at the fixed length.
        positions: the axes that count the sequence's positions.
        largest: no element is larger in absolute value, and none is NaN; infinite where nothing is
            known.
        norm: (axis, bound): no vector along the axis is longer (Euclidean); None where `largest`
            says all.
        levels: (at text, at padding) of a value that is the mask, or made of it alone.
        is_mask: it is the mask itself: 1 at text and exactly 0 at padding, moved at most.
        hidden: (axis, gap): along this axis of positions every element at padding lies at least
            `gap` below every element at text.
        zero: along this axis of positions every element at padding is exactly zero.
        silent: likewise, and the absolute values add up to 1, but for their rounding.
        normalised: (γ, β, r): each row along the last axis is γ∘z + β, but for its rounding, with z
            at most r long. A large γ often meets small weights, which the bounds above miss.
    """

    shape: tuple[int, ...]
    positions: frozenset[int]
    largest: float
    norm: tuple[int, float] | None = None
    levels: tuple[float, float] | None = None
    is_mask: bool = False
    hidden: tuple[int, float] | None = None
    zero: int | None = None
    silent: int | None = None
    normalised: tuple[Array, Array, float] | None = None

    def norm_along(self, axis: int) -> float:
        """A bound on the length of vectors along an axis."""
        plain = self.largest * math.sqrt(self.shape[axis])
        return min(plain, self.norm[1]) if self.norm and self.norm[0] == axis else plain

    def rounded(self) -> Fact:
        """The same after every element was rounded to the declared type."""

        def more(bound: float, elements: int = 1) -> float:
            return bound * (1.0 + ROUNDING) + _TINY * math.sqrt(elements)

        norm = self.norm and (self.norm[0], more(self.norm[1], self.shape[self.norm[0]]))
        return replace(self, largest=more(self.largest), norm=norm)
