"""The graphs that measure the machine are ONNX and multiply rightly."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from runtime.bench.gemm_model import product_model


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_graph_is_valid_and_gives_the_product(precision: str) -> None:
    data = product_model(48, 20, precision)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    weights = numpy_helper.to_array(model.graph.initializer[0])
    rng = np.random.default_rng(1)
    given = (
        rng.integers(0, 256, (7, 48), dtype=np.uint8)
        if precision == "int8"
        else rng.standard_normal((7, 48), dtype=np.float32)
    )
    (found,) = onnxruntime.InferenceSession(data).run(None, {"a": given})
    wide = np.int64 if precision == "int8" else np.float64
    np.testing.assert_allclose(found, given.astype(wide) @ weights.astype(wide), rtol=1e-4,
                               atol=1e-4)  # fmt: skip


def test_equal_sizes_give_equal_bytes() -> None:
    assert product_model(8, 8, "int8") == product_model(8, 8, "int8")
    assert product_model(8, 8, "int8") != product_model(8, 9, "int8")
