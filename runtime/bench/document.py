"""bench.json: everything that a run found, as data; its schema is bench.schema.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.bench.duels import Duel
from runtime.bench.flops import Work
from runtime.bench.report import BenchReport, CellFigures, Row
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio
from runtime.files import json_number

BENCH_SCHEMA = 2


def bench_document(report: BenchReport) -> dict[str, Any]:
    """Plain JSON values. Infinity becomes the string "inf", NaN the string "nan"."""
    m = report.machine
    return {
        "schema_version": BENCH_SCHEMA,
        "bundles": [
            {"label": b.label, "name": b.name, "source_sha256": b.source_sha256}
            for b in report.bundles
        ],
        "metric": report.metric,
        "machine": {
            "architecture": m.architecture,
            "processor": m.processor,
            "features": list(m.features),
            "cores": m.cores,
            "memory_bytes": m.memory_bytes,
            "governor": m.governor,
            "virtual": m.virtual,
            "system": m.system,
            "load": json_number(m.load),
            "busy_share": json_number(m.busy_share),
        },
        "plan": {
            "lengths": list(report.plan.lengths),
            "threads": list(report.plan.threads),
            "batch": report.plan.batch,
            "throughput": report.plan.throughput,
            "sittings": report.plan.sittings,
            "seed": report.plan.seed,
        },
        "baseline": report.baseline,
        "noise": {str(k): json_number(v) for k, v in report.noise.items()},
        "processor_noise": {str(k): json_number(v) for k, v in report.processor_noise.items()},
        "peaks": {
            str(threads): {
                kind: {"flops": peak.rate, "shape": peak.shape} for kind, peak in peaks.items()
            }
            for threads, peaks in report.peaks.items()
        },
        "work": {
            str(length): {"needed": _work(needed), "whole": _work(whole)}
            for length, (needed, whole) in report.work.items()
        },
        "rows": [_row(row) for row in report.rows],
        "duels": [_duel(duel) for duel in report.duels],
        "skipped": dict(report.skipped),
        "warnings": list(report.warnings),
    }


def _work(work: Work) -> dict[str, float]:
    return {"linear": work.linear, "attention": work.attention}


def _row(row: Row) -> dict[str, Any]:
    c = row.contestant
    return {
        "name": c.name,
        "group": c.group,
        "bundle": row.bundle,
        "format": c.format,
        "precision": c.precision,
        "bytes": c.bytes,
        "sha256": c.sha256,
        "threads": row.threads,
        "environment": dict(row.environment),
        "load_ms": json_number(row.load_ms),
        "peak_bytes": row.peak_bytes,
        "model_bytes": row.model_bytes,
        "cells": [_cell(cell, found) for cell, found in row.cells.items()],
        "left_out": _left_out(row.left_out),
        "figures": _figures(row.figures),
        "against_first": _figures(row.against_first),
        "notes": list(row.notes),
        "failure": row.failure,
    }


def _figures(figures: Mapping[str, float]) -> dict[str, float | str]:
    return {name: json_number(value) for name, value in sorted(figures.items())}


def _cell(cell: Cell, found: CellFigures) -> dict[str, Any]:
    t = found.timing
    return {
        "batch": cell.batch,
        "length": cell.length,
        "median_ms": t.median,
        "p10_ms": t.p10,
        "p90_ms": t.p90,
        "runs": t.runs,
        "texts_per_second": 1e3 * cell.batch / t.median,
        "ratio": _ratio(found.ratio),
        "processor_ms": found.processor_ms,
        "processor_ratio": _ratio(found.processor_ratio),
        "bound_ms": json_number(found.bound_ms),
        "whole_bound_ms": json_number(found.whole_bound_ms),
        "fraction_of_limit": json_number(found.bound_ms / t.median),
    }


def _duel(duel: Duel) -> dict[str, Any]:
    return {
        "own": duel.own,
        "rival": duel.rival,
        "threads": duel.threads,
        "batch": duel.cell.batch,
        "length": duel.cell.length,
        "ratio": _ratio(duel.ratio),
        "processor_ratio": _ratio(duel.processor_ratio),
        "flips": json_number(duel.flips),
        "rival_flips": json_number(duel.rival_flips),
    }


def _ratio(ratio: Ratio | None) -> dict[str, float] | None:
    if ratio is None:
        return None
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high, "rounds": ratio.rounds}


def _left_out(left_out: Mapping[Cell, str]) -> list[dict[str, Any]]:
    return [
        {"batch": cell.batch, "length": cell.length, "why": why}
        for cell, why in sorted(left_out.items())
    ]
