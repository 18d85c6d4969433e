"""What Xcode shows, what a program reads from a package, what is read back for the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coreml_support import CONTRACT, coreml_job

from export.targets import coreml
from export.targets.coreml._metadata import PREFIX
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError
from runtime.manifest import TensorSpec


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.mlpackage"
    labels = ("sunny", 'so-called "rain"', "雪")
    job = coreml_job(labels=labels, kind="multi_label", layout="ane", outputs="classifier")
    coreml.make(job, path)
    package = read_package(path)
    metadata = package.metadata
    assert metadata.short_description == "Tells the weather"
    assert metadata.author == "Ada L."
    assert metadata.license == "Apache-2.0"
    assert metadata.version == "1.2.3"
    ours = {
        key.removeprefix(PREFIX): value
        for key, value in metadata.user_defined.items()
        if key.startswith(PREFIX)
    }
    assert tuple(json.loads(ours.pop("labels"))) == labels
    assert json.loads(ours.pop("thresholds")) == [0.25, 0.25, 0.25]
    assert ours == {
        "name": "weather",
        "contract_sha256": CONTRACT,
        "recipe": "float16",
        "recipe_version": "4",
        "family": "distilbert",
        "task": "multi_label",
        "activation": "sigmoid",
        "max_length": "32",
        "lengths": "32",
        "pad_id": "0",
        "pad_side": "right",
        "vocab_size": "200",
        "compute_precision": "float16",
        "layout": "ane",
    }
    others = {key for key in metadata.user_defined if not key.startswith(PREFIX)}
    assert others == {
        "com.github.apple.coremltools.version",
        "com.github.apple.coremltools.source",
    } | {key for key in others if key.endswith("source_dialect")}
    assert not any("date" in key for key in others)
    texts = {f.name: f.description for f in (*package.inputs, *package.outputs)}
    assert "int32 [1, 32]. From 0 to 199" in texts["input_ids"]
    assert "filled up on the right with 0" in texts["input_ids"]
    assert "float32 [1, 3]" in texts["logits"]
    assert "before sigmoid" in texts["logits"]
    assert "sigmoid" in texts["classLabel_probs"]
    assert all(texts.values())


FIXED = (TensorSpec("input_ids", "int32", (1, 32)), TensorSpec("attention_mask", "int32", (1, 32)))
FREE = (
    TensorSpec("input_ids", "int32", (1, "length")),
    TensorSpec("attention_mask", "int32", (1, "length")),
)


@pytest.mark.parametrize(
    ("options", "inputs", "lengths", "said", "runtime"),
    [
        ({}, FIXED, (32,), "32", {"iOS": "16", "macOS": "13"}),
        (
            {"shapes": "range", "deployment_target": "iOS17"},
            FREE,
            None,
            "1..32",
            {"iOS": "17", "macOS": "14"},
        ),
        (
            {"shapes": "enumerated", "deployment_target": "iOS18"},
            FREE,
            (8, 16, 32),
            "8,16,32",
            {"iOS": "18", "macOS": "15"},
        ),
    ],
)
def test_described_as_made(
    tmp_path: Path,
    options: dict[str, str],
    inputs: tuple[TensorSpec, ...],
    lengths: tuple[int, ...] | None,
    said: str,
    runtime: dict[str, str],
) -> None:
    path = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(**options), path)
    found = coreml.describe(path)
    assert found.inputs == inputs
    assert found.outputs == (TensorSpec("logits", "float32", (1, 3)),)
    assert found.lengths == lengths
    assert found.minimum_runtime == runtime
    assert "const" not in found.operators
    assert found.operators["linear"] == 14
    assert read_package(path).metadata.user_defined[PREFIX + "lengths"] == said


@pytest.mark.parametrize(
    ("options", "precision", "bits"),
    [
        ({}, "float16", 16.0),
        ({"compute_precision": "float32"}, "float32", 32.0),
        ({"layout": "ane"}, "float16", 16.0),
    ],
)
def test_every_weight_is_listed(
    tmp_path: Path, options: dict[str, str], precision: str, bits: float
) -> None:
    path = tmp_path / "model.mlpackage"
    job = coreml_job(**options)
    coreml.make(job, path)
    weights = coreml.describe(path).weights
    state = job.source.reference.module.model.state_dict()
    large = {
        name: tuple(value.shape)
        for name, value in state.items()
        if value.numel() >= 256 and "position" not in name
    }
    assert len(weights) == len(large) + 1
    for name, shape in large.items():
        (weight,) = (w for w in weights if name.replace(".", "_") in w.name)
        assert tuple(n for n in weight.shape if n != 1) == shape
        assert (weight.precision, weight.scales, weight.bits) == (precision, 0, bits)
        assert weight.role == ("embedding" if "word_emb" in name else "linear")


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoreMLError):
        coreml.describe(tmp_path / "missing.mlpackage")
