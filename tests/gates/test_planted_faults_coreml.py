"""Faults planted in saved Core ML packages, and the part of the gate that catches each.

Three parts can catch one: the stored weights (compared with the originals at the export), the graph
(float32 execution against PyTorch with the package's own weights) and the end-to-end figures. The
table says which do; a plain tolerance on logits, all that most exporters have, misses several.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.artifacts import effective_reference, split_rows
from export.checkpoint import load_classifier, read_checkpoint
from export.recipes import recipes
from export.reference import reference_from_model, reference_logits
from export.targets import targets
from export.targets.base import ArtifactMetadata, Job, Source, resolve_options
from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.errors import UserError
from runtime.golden import EffectiveLogits, Golden, read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import judge

DATA = Path("Data/com.apple.CoreML")
TARGET = targets()["coreml"]


@dataclass
class Editable:
    """A package's program and weight file, to be changed in place and saved."""

    path: Path
    model: Any
    weights: bytearray

    @classmethod
    def read(cls, path: Path) -> Editable:
        from coremltools.proto import Model_pb2

        model = Model_pb2.Model()
        model.ParseFromString((path / DATA / "model.mlmodel").read_bytes())
        return cls(path, model, bytearray((path / DATA / "weights/weight.bin").read_bytes()))

    def save(self) -> None:
        (self.path / DATA / "model.mlmodel").write_bytes(self.model.SerializeToString())
        (self.path / DATA / "weights/weight.bin").write_bytes(bytes(self.weights))

    @property
    def operations(self) -> list[Any]:
        function = self.model.mlProgram.functions["main"]
        return list(function.block_specializations[function.opset].operations)

    def of(self, kind: str) -> list[Any]:
        return [op for op in self.operations if op.type == kind]

    def source(self, op: Any, parameter: str) -> Any:
        """The operation that makes an argument."""
        name = op.inputs[parameter].arguments[0].name
        return next(o for o in self.operations if name in [out.name for out in o.outputs])

    def array(self, op: Any, dtype: type, parameter: str = "val") -> Any:
        """A writable view of a constant's data in the weight file."""
        holder = op.attributes if parameter in op.attributes else op.inputs
        value = holder[parameter]
        if hasattr(value, "arguments"):
            value = value.arguments[0].value
        offset = value.blobFileValue.offset
        size, start = np.frombuffer(self.weights, "<u8", count=2, offset=offset + 8)
        return np.frombuffer(self.weights, np.uint8)[start : start + size].view(dtype)


def _float16(value: float) -> bytes:
    return np.float16(value).tobytes()


def _number(op: Any) -> float:
    """The value of a constant of one float16."""
    raw = op.attributes["val"].immediateValue.tensor.bytes.values
    return float(np.frombuffer(raw, np.float16)[0]) if len(raw) == 2 else float("nan")


def _put_number(op: Any, value: float) -> None:
    op.attributes["val"].immediateValue.tensor.bytes.values = _float16(value)


def _constants_first(package: Editable) -> None:
    """So that any operation may name any constant."""
    function = package.model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    ordered = sorted(block.operations, key=lambda op: op.type != "const")
    copies = [type(op).FromString(op.SerializeToString()) for op in ordered]
    del block.operations[:]
    block.operations.extend(copies)


def tanh_gelu(package: Editable) -> None:
    for op in package.of("gelu"):
        mode = package.source(op, "mode").attributes["val"].immediateValue.tensor.strings
        mode.values[0] = "TANH_APPROXIMATION"


def wrong_scale_in_one_layer(package: Editable) -> None:
    """0.2% on the attention scores of the last layer."""
    scale = [
        constant
        for op in package.of("mul")
        if (constant := package.source(op, "y")).type == "const" and _number(constant) > 0
    ][-1]
    _put_number(scale, _number(scale) * 1.002)


def weak_mask(package: Editable) -> None:
    (mask,) = [
        constant
        for op in package.of("mul")
        if (constant := package.source(op, "y")).type == "const" and _number(constant) < -1000
    ]
    _put_number(mask, -8.0)


def swapped_layers(package: Editable) -> None:
    """The feed-forward weights of the two layers, by name."""
    _constants_first(package)
    first, second = _feed_forward(package)
    a, b = first.inputs["weight"].arguments[0], second.inputs["weight"].arguments[0]
    a.name, b.name = b.name, a.name


def wrong_epsilon(package: Editable) -> None:
    _put_number(package.source(package.of("layer_norm")[2], "epsilon"), 1e-2)


def wrong_bias(package: Editable) -> None:
    _constants_first(package)
    first, second = _feed_forward(package)
    a, b = first.inputs["bias"].arguments[0], second.inputs["bias"].arguments[0]
    a.name = b.name


def _feed_forward(package: Editable) -> list[Any]:
    return [op for op in package.of("linear") if "lin1" in op.inputs["weight"].arguments[0].name]


def flipped_weight(package: Editable) -> None:
    """The sign of one float16, the smallest of a matrix: no answer moves."""
    weight = package.source(package.of("linear")[3], "weight")
    values = package.array(weight, np.float16)
    size = np.where(values == 0, np.float16(np.inf), np.abs(values))
    values[size.argmin()] *= -1


def dropped_embedding_row(package: Editable) -> None:
    """The row of a word that no text of the gate holds."""
    table = package.source(package.of("gather")[0], "x")
    rows = package.array(table, np.float16).reshape(-1, 64)
    golden = read_golden(package.path.parent / GOLDEN)
    used = {i for case in golden.cases for i in case.input_ids}
    rows[max(set(range(len(rows))) - used)] = 0


def permuted_labels(package: Editable) -> None:
    op = package.of("linear")[-1]
    values = package.array(package.source(op, "weight"), np.float16).reshape(3, -1)
    values[:] = values[[1, 2, 0]]


def swapped_blobs(package: Editable) -> None:
    """Two layers' matrices under each other's name: the graph is as it was."""
    a, b = (package.source(op, "weight").attributes["val"] for op in _feed_forward(package))
    first, second = a.blobFileValue.offset, b.blobFileValue.offset
    a.blobFileValue.offset, b.blobFileValue.offset = second, first


STORED, GRAPH, END_TO_END = "stored weights", "graph", "end to end"
FAULTS: dict[Callable[[Editable], None], set[str]] = {
    tanh_gelu: {GRAPH},
    wrong_scale_in_one_layer: {GRAPH},
    weak_mask: {GRAPH, END_TO_END},
    swapped_layers: {GRAPH, END_TO_END},
    wrong_epsilon: {GRAPH},
    wrong_bias: {STORED, END_TO_END},
    flipped_weight: {STORED},
    dropped_embedding_row: {STORED},
    permuted_labels: {STORED, END_TO_END},
    swapped_blobs: {STORED, END_TO_END},
}


@pytest.fixture(scope="module")
def job(bundle_folder: Path, checkpoint_folder: Path, tmp_path_factory: Any) -> Job:
    manifest = open_bundle(bundle_folder).manifest
    reference = reference_from_model(
        load_classifier(read_checkpoint(checkpoint_folder, name="weather", revision=None))
    )
    recipe = recipes("coreml")["float16"]
    source = Source(
        reference=reference,
        lengths=(32, 64),
        task=manifest.task,
        pad_id=manifest.tokenizer.pad_id,
        metadata=ArtifactMetadata("weather", "a classifier", "", "", "1.0", "0" * 64),
    )
    scratch = tmp_path_factory.mktemp("scratch")
    return Job(source, recipe, resolve_options(TARGET, recipe, {}), scratch)


def _caught_by(folder: Path, job: Job, golden: Golden) -> set[str]:
    """Every part that objects to model.mlpackage, each asked by itself."""
    caught = set()
    path = folder / "model.mlpackage"
    try:
        effective = TARGET.effective(path, job)
    except UserError:
        caught.add(STORED)
    else:
        assert effective is not None
        rows = split_rows(golden)
        logits = reference_logits(
            effective_reference(job.source.reference, effective),
            [golden.cases[row].input_ids for row in rows],
        )
        golden = replace(golden, effective={path.name: EffectiveLogits(rows, logits)})
    checks = _checks(folder, golden)
    if not checks["graph_max_abs"] and STORED not in caught:
        caught.add(GRAPH)
    others = {k: v for k, v in checks.items() if k not in ("graph_max_abs", "changed_weights")}
    if not all(others.values()):
        caught.add(END_TO_END)
    return caught


def _checks(folder: Path, golden: Golden) -> dict[str, bool]:
    bundle = open_bundle(folder, verify=False)
    only = tuple(a for a in bundle.manifest.artifacts if a.path == "model.mlpackage")
    bundle = Bundle(bundle.path, replace(bundle.manifest, artifacts=only))
    report = judge(bundle, golden, read_gates(folder / PARITY))
    return {check.figure: check.passed for check in report.artifacts[0].checks}


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_an_untouched_package_passes_every_part(copied: Path, job: Job) -> None:
    package = Editable.read(copied / "model.mlpackage")
    package.save()
    assert _caught_by(copied, job, read_golden(copied / GOLDEN)) == set()


@pytest.mark.parametrize("plant", FAULTS, ids=lambda f: f.__name__)
def test_each_fault_is_caught_by_the_parts_of_the_table(
    plant: Callable[[Editable], None], copied: Path, job: Job
) -> None:
    package = Editable.read(copied / "model.mlpackage")
    plant(package)
    package.save()
    assert _caught_by(copied, job, read_golden(copied / GOLDEN)) == FAULTS[plant]


@pytest.mark.parametrize("plant", FAULTS, ids=lambda f: f.__name__)
def test_a_bundle_changed_later_fails_without_torch(
    plant: Callable[[Editable], None], copied: Path
) -> None:
    """The bundle keeps what its weights should give, so a changed one shows in the graph part.

    What no text's logits show, a row that none reads or a tiny weight, the weights' hashes tell.
    """
    package = Editable.read(copied / "model.mlpackage")
    plant(package)
    package.save()
    checks = _checks(copied, read_golden(copied / GOLDEN))
    assert not (checks["graph_max_abs"] and checks["changed_weights"])
    if plant in (dropped_embedding_row, flipped_weight):
        assert not checks["changed_weights"]
    else:
        assert not checks["graph_max_abs"]
    with pytest.raises(UserError, match="mlpackage"):
        open_bundle(copied)
