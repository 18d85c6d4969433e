"""Core ML of every family: the module that is converted, the saved package, and faults in both."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import (
    LENGTHS,
    coreml_job,
    family_batch,
    family_classifier,
    family_difference,
    family_module,
    package_logits,
    package_outputs,
    padded_batch,
    torch_logits,
)

from export.embedding_reference import reference_of_vectors
from export.families import anatomy, families
from export.pooling import EmbeddingSettings
from export.recipes import recipes
from export.reference import LogitsOnly
from export.targets import coreml
from export.targets.coreml._calibrate import activation_scales
from runtime.coreml_reference.package import read_package
from runtime.errors import UserError

FAMILIES = tuple(families())
GRAPH_GATE = 1e-4
ANE = tuple(anatomy.ANATOMIES)


# --- the module that is converted ----------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_module_is_the_reference_in_other_words(name: str) -> None:
    model = family_classifier(name)
    double = copy.deepcopy(model).double()
    # torch's own fused attention reads a float32 mask wrongly where the rest is float64.
    double.config._attn_implementation = "eager"
    cases = [
        ({}, 32),
        ({"deployment_target": "iOS18", "shapes": "enumerated"}, 16),
        ({"deployment_target": "iOS17", "shapes": "range"}, 7),
    ]
    if name in ANE:
        cases.append(({"layout": "ane"}, 32))
    for options, length in cases:
        ids, mask = padded_batch(length, rows=6, side=families()[name].pad_side)
        exact = torch_logits(LogitsOnly(double), ids, mask)
        assert exact.std() > 0.05
        # The reference of a job is float32, so the module is made of it and then widened.
        found = torch_logits(family_module(model, **options).double(), ids, mask)
        assert np.abs(found - exact).max() <= 1e-12 * max(1.0, float(np.abs(exact).max())), options


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_the_references_own(name: str) -> None:
    model = family_classifier(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    module = family_module(model)
    assert [type(part) for part in model.modules()] == [
        type(part) for part in family_classifier(name).modules()
    ]
    places = {value.data_ptr() for value in model.state_dict().values()}
    # Every parameter of the module begins in one of the reference's, or within its rows.
    shared = [p for p in module.parameters() if p.data_ptr() in places]
    assert len(shared) >= len(list(module.parameters())) - 1  # RoBERTa's positions begin later
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# --- the package ---------------------------------------------------------------------------------


QUICK: list[dict[str, str]] = [
    {},
    {"deployment_target": "iOS18", "shapes": "enumerated", "outputs": "classifier"},
]
MORE: list[dict[str, str]] = [
    {"deployment_target": "iOS17", "shapes": "range", "compute_precision": "float32"},
    {"deployment_target": "iOS18", "shapes": "range"},
    {"deployment_target": "iOS16", "shapes": "range", "outputs": "classifier"},
    {"deployment_target": "iOS18", "compute_precision": "float32"},
    {"layout": "ane"},
    {"layout": "ane", "deployment_target": "iOS18", "shapes": "enumerated"},
]
CASES = [(name, options) for name in FAMILIES for options in (*QUICK, *MORE)]
# One of each kind of program: the others differ from BERT's in names alone.
KINDS = ("bert", "mobilebert", "xlnet")
FAST = [(name, QUICK[0]) for name in (*KINDS, "albert", "roberta")] + [("xlnet", QUICK[1])]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(
            name,
            options,
            id="-".join((name, *options.values())),
            marks=[] if (name, options) in FAST else pytest.mark.slow,
        )
        for name, options in CASES
        if name in ANE or options.get("layout") != "ane"
    ],
)
def test_the_package_is_the_reference(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    package, job = tmp_path / "model.mlpackage", coreml_job(family_classifier(name), **options)
    coreml.make(job, package)
    assert family_difference(package, job) <= GRAPH_GATE / 2
    effective = coreml.effective(package, job)
    state = job.source.reference.module.model.state_dict()
    assert effective.tensors.keys() == state.keys()
    half = job.options["compute_precision"] == "float16"
    for key, original in state.items():
        found = effective.tensors[key]
        assert found.shape == tuple(original.shape), key
        # Rounded once, and the queries by attention's scale a little; rows that are not stored
        # and what no logit depends on stay.
        size = np.abs(original.numpy()).max()
        assert np.abs(found - original.numpy()).max() <= (6e-4 * size if half else 0.0), key
    if half:
        ids, mask = family_batch(job, LENGTHS[-1])
        faithful = package_logits(package, ids, mask, "f16")
        exact = package_logits(package, ids, mask)
        # Random weights, far livelier than a trained model's.
        assert 0 < np.abs(faithful - exact).max() <= 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    "name", [n if n in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_int8_reaches_every_large_weight(tmp_path: Path, name: str) -> None:
    """Of every kind that the family has: tables, linear layers, XLNet's own of attention."""
    package = tmp_path / "model.mlpackage"
    job = coreml_job(family_classifier(name, **_wide(name)))
    job = dataclasses.replace(job, recipe=recipes("coreml")["int8"], scratch=tmp_path)
    coreml.make(job, package)
    weights = [w for w in coreml.describe(package).weights if w.elements >= 4096]
    assert {w.precision for w in weights} == {"int8"}
    assert {w.role for w in weights} == {"linear", "embedding"}
    if name == "xlnet":
        for part in "qkvro":
            (found,) = (w for w in weights if f"layer_1_rel_attn_{part}_" in f"{w.name}_")
            assert found.scales == 64
    assert family_difference(package, job) <= GRAPH_GATE / 2


def _wide(name: str) -> dict[str, Any]:
    # The small MobileBERT's layers are below the size that is compressed.
    return {"embedding_size": 64, "intermediate_size": 256} if name == "mobilebert" else {}


def test_shared_layers_are_stored_once(tmp_path: Path) -> None:
    """ALBERT with more layers has no more weights."""
    stored = []
    for layers in (1, 3):
        package = tmp_path / f"{layers}.mlpackage"
        coreml.make(coreml_job(family_classifier("albert", num_hidden_layers=layers)), package)
        description = coreml.describe(package)
        assert description.operators["softmax"] == layers
        names = sorted((w.name, w.sha256) for w in description.weights)
        file = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
        stored.append((names, file.stat().st_size))
    assert stored[0] == stored[1]


def test_xlnet_fuses_its_attention_and_folds_no_weight(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(family_classifier("xlnet"), deployment_target="iOS18"), package)
    operators = coreml.describe(package).operators
    assert operators["scaled_dot_product_attention"] == 2
    assert operators["linear"] == 2 * 7 + 2
    # The angles are computed in float32, whatever the rest is.
    kinds = {
        output.type.dtype
        for operation in read_package(package).function.operations
        if operation.kind in ("sin", "cos")
        for output in operation.outputs
    }
    assert kinds == {"fp32"}


def test_albert_keeps_its_tanh(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(family_classifier("albert", hidden_act="gelu_new")), package)
    operators = coreml.describe(package).operators
    assert operators["gelu"] == 2
    assert operators["tanh"] == 1  # the pooler's


@pytest.mark.parametrize(
    ("name", "pooling", "options"),
    [
        ("bert", "mean", {}),
        ("xlnet", "cls", {"deployment_target": "iOS18", "shapes": "enumerated"}),
        pytest.param("mobilebert", "mean", {"shapes": "range"}, marks=pytest.mark.slow),
        pytest.param("distilbert", "mean", {"layout": "ane"}, marks=pytest.mark.slow),
        pytest.param("roberta", "cls", {"layout": "ane"}, marks=pytest.mark.slow),
    ],
)
def test_sentence_vectors(tmp_path: Path, name: str, pooling: Any, options: dict[str, str]) -> None:
    settings = EmbeddingSettings(pooling=pooling)
    reference = reference_of_vectors(family_classifier(name), settings)
    package, job = tmp_path / "model.mlpackage", coreml_job(reference, **options)
    coreml.make(job, package)
    (output,) = coreml.describe(package).outputs
    assert (output.name, output.shape) == ("embedding", (1, 64))
    assert family_difference(package, job) <= 1e-5
    ids, mask = family_batch(job, LENGTHS[-1])
    vectors = package_outputs(package, ids, mask, "f16")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    with pytest.raises(UserError, match="no labels to tell"):
        family_module(reference, outputs="classifier")


@pytest.mark.slow
def test_calibration_leaves_padding_out_on_the_left_too(tmp_path: Path) -> None:
    model, texts = family_classifier("xlnet"), ((5, 9, 77), tuple(range(20, 32)))
    found = []
    for shapes in ("range", "fixed"):
        job = coreml_job(model, shapes=shapes, compute_precision="float32")
        source = dataclasses.replace(job.source, calibration=texts)
        job, package = dataclasses.replace(job, source=source), tmp_path / f"{shapes}.mlpackage"
        coreml.make(job, package)
        found.append(activation_scales(package, job, lambda *_: None))
    free, filled = (np.array(list(scales.values())) for scales in found)
    # But for the waves of the distances, of which a longer sequence has more.
    assert len(free) == len(filled) > 2 * 4
    np.testing.assert_allclose(filled, free, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilebert", {"trigram_input": False, "embedding_size": 64}),
        ("mobilebert", {"use_bottleneck_attention": True}),
        ("mobilebert", {"classifier_activation": False}),
        ("mobilebert", {"num_feedforward_networks": 1}),
        ("albert", {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2}),
        ("electra", {"embedding_size": 64}),
        ("xlnet", {"clamp_len": 3, "summary_use_proj": False, "summary_activation": ""}),
        ("bert", {"type_vocab_size": 1, "hidden_act": "relu", "pad_token_id": 7}),
    ],
)
def test_other_configurations(name: str, settings: dict[str, Any]) -> None:
    model = family_classifier(name, **settings)
    ids, mask = padded_batch(LENGTHS[-1], side=families()[name].pad_side)
    wanted = torch_logits(LogitsOnly(model), ids, mask)
    found = torch_logits(family_module(model), ids, mask)
    assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()


# --- slow ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["albert", "mobilebert", "xlnet"])
def test_every_other_recipe(tmp_path: Path, name: str) -> None:
    model = family_classifier(name, **_wide(name))
    for recipe in recipes("coreml").values():
        if not recipe.quantizes:
            continue
        job = coreml_job(model, **recipe.options)
        texts = tuple(tuple(range(5, 5 + count)) for count in (3, 12, 30))
        source = dataclasses.replace(job.source, calibration=texts)
        folder = tmp_path / recipe.name
        folder.mkdir()
        job = dataclasses.replace(job, recipe=recipe, scratch=folder, source=source)
        coreml.make(job, folder / "model.mlpackage")
        if recipe.activations == "float":
            assert family_difference(folder / "model.mlpackage", job) <= GRAPH_GATE, recipe.name
        else:
            coreml.effective(folder / "model.mlpackage", job)


_EXPORT = """
import sys
from pathlib import Path
from coreml_support import coreml_job, family_classifier
from export.families import families
from export.targets import coreml
for name in families():
    coreml.make(coreml_job(family_classifier(name)), Path(sys.argv[1]) / f"{name}.mlpackage")
"""


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": f"{root}:{root / 'tests'}",
        }
        subprocess.run([sys.executable, "-c", _EXPORT, str(folder)], check=True, env=environment)
        found.append(_hashes(folder))
    assert len(found[0]) == 3 * len(FAMILIES)
    assert found[0] == found[1]
