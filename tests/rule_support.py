"""Tests that hold for every rule of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from export.recipes import WeightsRule


def for_every(rules: Sequence[WeightsRule]) -> Any:
    """A mark that runs a test with each rule, named so that a failure tells which."""
    names = [f"{r.precision}-{r.granularity}-{r.scale}-{r.reduce_range}" for r in rules]
    return pytest.mark.parametrize("rule", rules, ids=names)
