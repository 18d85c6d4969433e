"""Every combination of options: converted, run from the saved package and compared with torch."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import (
    LENGTHS,
    coreml_job,
    lively_classifier,
    package_logits,
    padded_batch,
    torch_logits,
)

from export.reference import LogitsOnly
from export.targets import coreml
from export.targets.coreml import OPTIONS
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package

NAMES = tuple(OPTIONS)
EVERY = [dict(zip(NAMES, values, strict=True)) for values in itertools.product(*OPTIONS.values())]
# Every pair of values of two options is in one of these.
QUICK = [
    ("iOS16", "float16", "fixed", "default", "logits"),
    ("iOS16", "float32", "range", "default", "classifier"),
    ("iOS16", "float32", "fixed", "ane", "classifier"),
    ("iOS17", "float16", "range", "default", "logits"),
    ("iOS17", "float32", "fixed", "default", "logits"),
    ("iOS17", "float16", "fixed", "ane", "classifier"),
    ("iOS18", "float16", "enumerated", "default", "classifier"),
    ("iOS18", "float32", "enumerated", "ane", "logits"),
    ("iOS18", "float16", "range", "default", "classifier"),
    ("iOS18", "float32", "fixed", "default", "logits"),
]


def possible(options: dict[str, str]) -> bool:
    if options["shapes"] == "enumerated":
        return options["deployment_target"] == "iOS18"
    return not (options["shapes"] == "range" and options["layout"] == "ane")


def as_case(options: dict[str, str]) -> object:
    quick = tuple(options.values()) in QUICK
    return pytest.param(
        options, id="-".join(options.values()), marks=[] if quick else pytest.mark.slow
    )


def rounded_reference(model: Any, *, fused: bool) -> LogitsOnly:
    """The model on weights that float16 has, and what float16 leaves of its constants."""
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 2.0**-24
    for block in model.distilbert.transformer.layer:
        if not fused:
            block.attention.scaling = float(np.float16(block.attention.scaling))
    return LogitsOnly(model)


@pytest.mark.parametrize("options", [as_case(options) for options in EVERY if possible(options)])
def test_agrees_with_torch(tmp_path: Path, options: dict[str, str]) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(**options), package)
    reference = LogitsOnly(lively_classifier())
    if options["compute_precision"] == "float16":
        fused = options["deployment_target"] == "iOS18" and options["layout"] == "default"
        reference = rounded_reference(lively_classifier(), fused=fused)
    lengths = {"fixed": LENGTHS[-1:], "enumerated": LENGTHS, "range": (1, 5, 32)}
    for length in lengths[options["shapes"]]:
        ids, mask = padded_batch(length)
        wanted = torch_logits(reference, ids, mask)
        np.testing.assert_allclose(package_logits(package, ids, mask), wanted, rtol=0, atol=2e-5)
        faithful = package_logits(package, ids, mask, "f16")
        limit = 5e-2 if options["compute_precision"] == "float16" else 2e-5
        np.testing.assert_allclose(faithful, wanted, rtol=0, atol=limit)


def test_the_quick_cases_cover_every_pair_of_values() -> None:
    def pairs(options: dict[str, str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
        return set(itertools.combinations(options.items(), 2))

    quick = [dict(zip(NAMES, values, strict=True)) for values in QUICK]
    assert all(possible(options) for options in quick)
    covered = set().union(*map(pairs, quick))
    missing = set().union(*(pairs(o) for o in EVERY if possible(o))) - covered
    assert missing == set()


@pytest.mark.parametrize(
    ("target", "shapes", "fused"),
    [("iOS16", "fixed", 0), ("iOS17", "fixed", 0), ("iOS18", "fixed", 3), ("iOS18", "range", 3)],
)
def test_attention_is_one_operation_a_layer_from_ios18(
    tmp_path: Path, target: str, shapes: str, fused: int
) -> None:
    package = tmp_path / "model.mlpackage"
    model = lively_classifier(n_layers=3, dim=32, n_heads=2, hidden_dim=48)
    coreml.make(coreml_job(model, deployment_target=target, shapes=shapes), package)
    operators = coreml.describe(package).operators
    assert operators.get("scaled_dot_product_attention", 0) == fused
    assert operators.get("softmax", 0) == 3 - fused
    assert operators.get("matmul", 0) == 2 * (3 - fused)
    ids, mask = padded_batch(LENGTHS[-1])
    wanted = torch_logits(rounded_reference(model, fused=fused > 0), ids, mask)
    np.testing.assert_allclose(package_logits(package, ids, mask), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("activation", "layout"), [("relu", "ane"), ("gelu_new", "default")])
def test_the_models_own_activation_is_kept(tmp_path: Path, activation: str, layout: str) -> None:
    from transformers.activations import ACT2FN

    package = tmp_path / "model.mlpackage"
    model = lively_classifier()
    exact = torch_logits(LogitsOnly(model), *padded_batch(32))
    for block in model.distilbert.transformer.layer:
        block.ffn.activation = ACT2FN[activation]
    coreml.make(coreml_job(model, layout=layout, compute_precision="float32"), package)
    ids, mask = padded_batch(32)
    wanted = torch_logits(LogitsOnly(model), ids, mask)
    assert np.abs(wanted - exact).max() > 1e-4
    np.testing.assert_allclose(package_logits(package, ids, mask), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18"])
def test_a_vocabulary_beyond_int16_is_looked_up_rightly(tmp_path: Path, target: str) -> None:
    package = tmp_path / "model.mlpackage"
    model = lively_classifier(vocab_size=70_000, dim=8, n_heads=2, hidden_dim=8)
    options = {"deployment_target": target, "compute_precision": "float32"}
    coreml.make(coreml_job(model, lengths=(4,), **options), package)
    ids = np.array([[69_999, 32_768, 65_536, 1]], dtype=np.int32)
    mask = np.ones_like(ids)
    wanted = torch_logits(LogitsOnly(model), ids, mask)
    np.testing.assert_allclose(package_logits(package, ids, mask), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("shapes", "layout"), [("fixed", "default"), ("range", "default"), ("fixed", "ane")]
)
def test_only_the_positions_that_are_needed_are_stored(
    tmp_path: Path, shapes: str, layout: str
) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(shapes=shapes, layout=layout), package)
    shapes_found = [w.shape for w in coreml.describe(package).weights if "position" in w.name]
    assert shapes_found == [(32, 32)]


def test_a_single_enumerated_length_is_a_fixed_one(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(lengths=(16,), shapes="enumerated"), package)
    assert coreml.describe(package).lengths == (16,)


def test_padding_and_its_ids_do_not_matter(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(shapes="range", compute_precision="float32"), package)
    ids, mask = padded_batch(32, rows=1)
    mask[0, 9:] = 0
    other = ids.copy()
    other[0, 9:] = 7
    short = package_logits(package, ids[:, :9], mask[:, :9])
    np.testing.assert_allclose(package_logits(package, ids, mask), short, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(
        package_logits(package, ids, mask), package_logits(package, other, mask)
    )


def test_interface_of_a_float16_package(tmp_path: Path) -> None:
    """Apps see int32 and float32, whatever is computed in between."""
    path = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(), path)
    package = read_package(path)
    assert [(f.name, f.dtype, f.shape) for f in package.inputs] == [
        ("input_ids", "int32", (1, 32)),
        ("attention_mask", "int32", (1, 32)),
    ]
    assert [(f.name, f.dtype, f.shape) for f in package.outputs] == [("logits", "fp32", (1, 3))]
    ids, mask = padded_batch(32, rows=1)
    executor = Executor(package, ExecutorSettings(mode="f16"))
    assert executor.run({"input_ids": ids, "attention_mask": mask})["logits"].dtype == np.float32
