"""Files survive being taken apart and put together, compressed Core ML weights too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coreml_packages import MODEL, WEIGHTS, save_variant

from runtime.bundle import open_bundle
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.weights import StoredWeight, stored_weights
from runtime.faults import read_artifact
from runtime.faults.anatomy import linears
from runtime.faults.coreml_messages import message_class
from runtime.manifest import ArtifactSpec
from runtime.sessions.litert_file import load, save

VARIANTS = ("ios16-fp16", "ios18-int8", "ios18-int4", "ios16-palette6", "ios18-sparse-int8")


def _weights(package: Path) -> dict[str, StoredWeight]:
    return {weight.name: weight for weight in stored_weights(read_package(package), minimum=1)}


@pytest.fixture(scope="module", params=VARIANTS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_variant(request.param, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def spec(bundle_folder: Path) -> ArtifactSpec:
    return open_bundle(bundle_folder).artifact("model.mlpackage")


def test_a_package_comes_back_as_it_was(package: Path, spec: ArtifactSpec, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mlpackage"
    read_artifact(package, spec).save(copy)
    assert (copy / WEIGHTS).read_bytes() == (package / WEIGHTS).read_bytes()
    before, after = _weights(package), _weights(copy)
    assert {n: w.sha256() for n, w in after.items()} == {n: w.sha256() for n, w in before.items()}


def test_one_weight_changes_and_no_other(package: Path, spec: ArtifactSpec, tmp_path: Path) -> None:
    """Whatever the compression; what is compressed below a byte becomes dense."""
    artifact = read_artifact(package, spec)
    node = linears(artifact.graphs[0])[1]
    weight = artifact.graphs[0].weight(node)
    dense = weight.dense()
    assert dense.any()
    weight.negate()
    artifact.save(tmp_path / "copy.mlpackage")
    before, after = _weights(package), _weights(tmp_path / "copy.mlpackage")
    assert list(after) == list(before)
    changed = {name for name in before if before[name].sha256() != after[name].sha256()}
    assert changed == {weight.name}
    assert np.allclose(before[weight.name].dense().reshape(dense.shape), dense, atol=1e-3)
    assert np.allclose(after[weight.name].dense().reshape(dense.shape), -dense, atol=1e-3)


def test_protobuf_from_our_table_writes_what_it_read(package: Path) -> None:
    model = message_class("Model")()
    data = (package / MODEL).read_bytes()
    model.ParseFromString(data)
    again = message_class("Model")()
    again.ParseFromString(model.SerializeToString())
    assert again == model
    assert len(model.SerializeToString()) == len(data)


@pytest.mark.parametrize("name", ["model.tflite", "model_int8.tflite"])
def test_a_tflite_file_comes_back_with_every_weight(
    bundle_folder: Path, tmp_path: Path, name: str
) -> None:
    model = load(bundle_folder / name)
    save(model, tmp_path / name)
    again = load(tmp_path / name)
    for before, after in zip(model.subgraphs, again.subgraphs, strict=True):
        for one, other in zip(before.tensors, after.tensors, strict=True):
            data, copied = model.buffers[one.buffer].data, again.buffers[other.buffer].data
            assert np.array_equal(() if data is None else data, () if copied is None else copied)


def test_a_format_that_nobody_edits_is_an_error(bundle_folder: Path, spec: ArtifactSpec) -> None:
    from runtime.errors import UserError

    with pytest.raises(UserError, match="no fault can be planted"):
        read_artifact(bundle_folder / spec.path, replace(spec, format="coreai"))
