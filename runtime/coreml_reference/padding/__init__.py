"""Leaves padded positions out of a run, once it is proven that they cannot change a result.

`proof` says how that is proven, `short_runs` what it is good for. Each module of rules enters them
into `registry.RULES`; importing the package fills the table.
"""

from __future__ import annotations

from runtime.coreml_reference.padding import axis_rules, rules
from runtime.coreml_reference.padding.registry import RULES

__all__ = ["RULES", "axis_rules", "rules"]
