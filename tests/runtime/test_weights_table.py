from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.bundle import Bundle
from runtime.constants_digest import REST_NAME, REST_ROLE
from runtime.manifest import StoredWeight, WeightsSummary
from runtime.weights_table import mean_bits, weights_line, weights_table

BIG = StoredWeight("a.weight", (300, 100), "linear", "int8", 0.0, 8.5)
SMALL = StoredWeight("b.weight", (100, 100), "linear", "int8", 0.5, 4.5)
TABLE = StoredWeight("words", (1000, 64), "embedding", "lut6", 0.0, 6.0)
REST = StoredWeight(REST_NAME, (500,), REST_ROLE, "mixed", 0.0, 32.0)
UNKNOWN = StoredWeight("bias", (300,), "other", "float32", 0.0, None)


def test_bits_are_weighed_by_elements() -> None:
    assert mean_bits([BIG, SMALL]) == pytest.approx(7.5)
    assert mean_bits([BIG, UNKNOWN]) is None
    assert mean_bits([]) is None


def test_one_line_and_one_table(bundle: Bundle) -> None:
    artifact = replace(
        bundle.manifest.artifacts[0],
        weights=WeightsSummary({}, (), (BIG, SMALL, TABLE, UNKNOWN, REST)),
    )
    assert weights_line(artifact) == (
        "1 embedding lut6 at 6.00 bits; 2 linear int8 at 7.50 bits, pruned; 1 other float32"
    )
    table = weights_table(artifact)
    assert table.row_count == 5
    assert list(table.columns[4].cells) == ["", "50%", "", "", ""]
    assert [list(column.cells)[-1] for column in table.columns][:4] == [
        "everything else", "500", "rest", "mixed",
    ]  # fmt: skip


def test_every_large_weight_of_a_bundle_is_listed(bundle: Bundle) -> None:
    for artifact in bundle.manifest.artifacts:
        listed = sum(
            weight.shape[0] * (weight.shape[1] if len(weight.shape) > 1 else 1)
            for weight in artifact.weights.stored
            if weight.role != REST_ROLE
        )
        assert listed == sum(artifact.weights.elements.values())
        if artifact.format == "coreml":
            assert all(weight.bits is not None for weight in artifact.weights.stored)
