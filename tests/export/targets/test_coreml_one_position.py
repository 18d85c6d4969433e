"""Core ML's last block computes what is read of it and no more, in every layout and shape."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from coreml_support import coreml_job, family_classifier, lively_classifier, padded_batch

from export.embedding_reference import reference_of_vectors
from export.pooling import EmbeddingSettings
from export.targets import coreml
from runtime.bench.flops import Architecture
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.sessions.coreml_taps import tap_package
from runtime.sessions.taps import Tap

LENGTH, WIDTH, INNER, BLOCKS, LABELS = 16, 32, 48, 3, 3
CASES: dict[str, dict[str, str]] = {
    "default": {"compute_precision": "float32"},
    "fused, enumerated, classifier": {
        "deployment_target": "iOS18",
        "shapes": "enumerated",
        "outputs": "classifier",
    },
    "range": {"shapes": "range"},
    "ane": {"layout": "ane"},
}


def operations(model: Any, folder: Path, **options: str) -> list[Tap]:
    """Every operation of one run at `LENGTH`, in order."""
    package = folder / "model.mlpackage"
    coreml.make(coreml_job(model, lengths=(8, LENGTH), **options), package)
    ids, mask = padded_batch(LENGTH, rows=1)
    read = read_package(package)
    executor = Executor(read, ExecutorSettings(mode="f32"))
    feed = {"input_ids": ids, "attention_mask": mask}
    return list(tap_package(read, executor, feed).operations)


def output(tap: Tap) -> Any:
    (value,) = tap.outputs.values()
    return value


def work(taps: list[Tap]) -> float:
    """FLOP of every product, from the shapes of what went in and came out."""
    sizes = {name: value.size for tap in taps for name, value in tap.outputs.items()}
    total = 0.0
    for tap in taps:
        if tap.kind in ("linear", "conv"):
            out, weight = output(tap), max(tap.parameters.values())
            total += 2.0 * out.size * weight / out.shape[1 if tap.kind == "conv" else -1]
        elif tap.kind == "scaled_dot_product_attention":
            key = max(sizes[name] for name in tap.inputs)
            total += 4.0 * output(tap).size * key / WIDTH
        elif tap.kind in ("matmul", "einsum"):
            # [heads, m, k] · [heads, k, n]; the three sizes multiplied are heads³·(m·k·n)².
            out, (x, y) = output(tap), (sizes[name] for name in tap.inputs[:2])
            heads = out.shape[1] if tap.kind == "matmul" else 1
            total += 2.0 * math.sqrt(x * y * out.size / heads)
    return total


def architecture() -> Architecture:
    square, feed_forward = WIDTH * WIDTH, 2 * WIDTH * INNER
    return Architecture(
        before=0,
        keys_values=(2 * square,) * BLOCKS,
        others=(2 * square + feed_forward,) * BLOCKS,
        width=(WIDTH,) * BLOCKS,
        head=square + WIDTH * LABELS,
        shapes=(),
    )


@pytest.fixture(scope="module", params=CASES)
def taps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Tap]:
    model = lively_classifier(dim=WIDTH, hidden_dim=INNER, n_layers=BLOCKS, num_labels=LABELS)
    return operations(model, tmp_path_factory.mktemp("package"), **CASES[request.param])


def test_the_products_are_those_that_the_answer_needs(taps: list[Tap]) -> None:
    found = work(taps)
    assert found == pytest.approx(architecture().needed(LENGTH).total, rel=1e-9)
    assert found < 0.8 * architecture().whole(LENGTH).total


def test_only_keys_and_values_are_of_all_positions(taps: list[Tap]) -> None:
    rows = {
        name.partition("layer_2_")[2].partition("_weight")[0]: output(tap).size // width
        for tap in taps
        for name in tap.parameters
        if tap.kind in ("linear", "conv") and "layer_2_" in name and "_weight" in name
        for width in [INNER if "lin1" in name else WIDTH]
    }
    assert rows == {
        "attention_q_lin": 1,
        "attention_k_lin": LENGTH,
        "attention_v_lin": LENGTH,
        "attention_out_lin": 1,
        "ffn_lin1": 1,
        "ffn_lin2": 1,
    }


@pytest.mark.parametrize("layout", ["default", "ane"])
@pytest.mark.parametrize(("pooling", "wanted"), [("cls", 1), ("mean", LENGTH)])
def test_a_mean_needs_every_position_and_one_token_does_not(
    tmp_path: Path, layout: str, pooling: Any, wanted: int
) -> None:
    settings = EmbeddingSettings(pooling=pooling, normalize=True)
    reference = reference_of_vectors(family_classifier("bert"), settings)
    found = operations(reference, tmp_path, layout=layout)
    last = [tap for tap in found if tap.kind in ("linear", "conv")][-1]  # of the feed-forward part
    assert output(last).size == wanted * reference.labels
