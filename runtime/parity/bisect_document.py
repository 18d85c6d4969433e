"""A bisection as data and as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from runtime.files import json_number
from runtime.parity.bisect import BisectReport, LayerError
from runtime.parity.bisect_budgets import BUDGETS_VERSION

BISECT_SCHEMA = 1


def bisect_document(reports: Sequence[BisectReport]) -> dict[str, Any]:
    """Plain JSON values. An error of a tensor that resembles nothing is the string "inf"."""
    return {
        "schema_version": BISECT_SCHEMA,
        "budgets_version": BUDGETS_VERSION,
        "artifacts": [_plain(dataclasses.asdict(report)) for report in reports],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return json_number(value) if isinstance(value, float) else value


def layer_table(report: BisectReport) -> Table:
    """Block by block: how far the output is from PyTorch's, beside its budget."""
    table = Table(title=escape(report.artifact), title_justify="left")
    for column in ("after", "difference", "budget", "", "tensor"):
        table.add_column(column, justify="right" if column in ("difference", "budget") else "left")
    for layer in report.layers:
        within = layer.rel_rms <= layer.budget
        mark = "[green]within[/]" if within else "[red]beyond[/]"
        table.add_row(layer.layer, _share(layer), f"{layer.budget:.1e}", mark, escape(layer.tensor))
    return table


def _share(layer: LayerError) -> str:
    return f"{layer.rel_rms:.1e}" if math.isfinite(layer.rel_rms) else "not found"


def conclusion(report: BisectReport) -> list[str]:
    """What was found, in lines for a terminal."""
    lines = []
    if report.verdict == "sound":
        lines.append("nothing diverges: every tensor is within its budget")
    if report.block is not None:
        lines.append(f"first block that diverges: {report.block}")
        place = f"{report.kind} {report.op}" if report.op else "cannot be told"
        lines.append(f"first operation: {place}")
        if math.isfinite(report.rel_rms):
            lines.append(
                f"its result is nearest to {report.point}, {report.rel_rms:.2g} from it; "
                f"budget {report.budget:.2g}"
            )
        else:
            lines.append("its result is no tensor of the reference")
    lines += [f"or: {other}" for other in report.others]
    if report.verdict == "unknown":
        lines.append("UNKNOWN")
    lengths = ", ".join(map(str, report.lengths))
    if report.lengths:
        lines.append(
            f"lengths {lengths}; looking inside moved the logits by "
            f"{report.untapped_difference:.1g} of their size"
        )
    lines.append(report.note)
    return lines
