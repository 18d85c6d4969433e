"""The package on disk: its bytes, its place, and that nothing else is left behind."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from coreml_support import coreml_job, lively_classifier

from export.targets import coreml
from export.targets.coreml._quiet import contained
from export.targets.coreml._save import save_package
from runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
MAKE = """
import sys
from pathlib import Path
from coreml_support import coreml_job
from export.targets import coreml
# A conversion before, since coremltools counts names across conversions.
if sys.argv[2] == "second":
    coreml.make(coreml_job(layout="ane"), Path(sys.argv[1]) / "other.mlpackage")
options = dict(deployment_target="iOS18", shapes="enumerated", outputs="classifier")
coreml.make(coreml_job(**options), Path(sys.argv[1]) / "model.mlpackage")
"""


def hashes(package: Path) -> dict[str, str]:
    return {
        str(file.relative_to(package)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(package.rglob("*"))
        if file.is_file()
    }


@pytest.mark.slow
def test_same_bytes_from_process_to_process(tmp_path: Path) -> None:
    found = []
    for number, word in enumerate(("first", "second")):
        folder = tmp_path / f"{word}{'x' * 40 * number}"
        folder.mkdir()
        environment = os.environ | {
            "PYTHONHASHSEED": str(number + 1),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "TMPDIR": str(folder),
        }
        command = [sys.executable, "-c", MAKE, str(folder), word]
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
        package = folder / "model.mlpackage"
        found.append(hashes(package))
        for file in (file for file in package.rglob("*") if file.is_file()):
            assert os.fsencode(tmp_path) not in file.read_bytes()
            assert os.fsencode(ROOT) not in file.read_bytes()
    assert found[0] == found[1]
    assert list(found[0]) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]


def test_identifiers_follow_the_content(tmp_path: Path) -> None:
    jobs = [coreml_job(lively_classifier(seed)) for seed in (3, 4, 3)]
    other = dataclasses.replace(jobs[2].source.metadata, author="Someone else")
    jobs[2] = dataclasses.replace(
        jobs[2], source=dataclasses.replace(jobs[2].source, metadata=other)
    )
    items = []
    for number, job in enumerate(jobs):
        package = tmp_path / f"{number}.mlpackage"
        coreml.make(job, package)
        manifest = json.loads((package / "Manifest.json").read_text())
        entries = manifest["itemInfoEntries"]
        assert entries[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
        assert {entry["author"] for entry in entries.values()} == {"com.apple.CoreML"}
        items.append({entry["name"]: identifier for identifier, entry in entries.items()})
    seed_three, seed_four, renamed = items
    assert not set(seed_three.values()) & set(seed_four.values())
    assert renamed["weights"] == seed_three["weights"]
    assert renamed["model.mlmodel"] != seed_three["model.mlmodel"]


def test_coremltools_reads_what_was_written(tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage"
    coreml.make(coreml_job(), package)
    with contained():
        import coremltools as ct

        model = ct.models.MLModel(str(package), skip_model_load=True)
        weights, specification = Path(model.weights_dir), model.get_spec()
    assert weights == package / "Data/com.apple.CoreML/weights"
    stored = (package / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    assert specification.SerializeToString(deterministic=True) == stored


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    package, job = tmp_path / "model.mlpackage", coreml_job()
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "old").write_text("old")
    coreml.make(job, package)
    first = hashes(package)
    assert "Data/old" not in first
    coreml.make(job, package)
    assert hashes(package) == first
    file = tmp_path / "file.mlpackage"
    file.write_text("a file")
    coreml.make(job, file)
    assert hashes(file) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.mlpackage", "model.mlpackage"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    class Unsaveable:
        weights_dir = str(tmp_path / "gone")

        def get_spec(self) -> object:
            from coremltools.proto import Model_pb2

            return Model_pb2.Model()

    package = tmp_path / "model.mlpackage"
    package.mkdir()
    (package / "kept").write_text("kept")
    with pytest.raises(FileNotFoundError), contained():
        save_package(Unsaveable(), package, coreml_job())
    assert hashes(package).keys() == {"kept"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.mlpackage"]


def test_silent_and_tidy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coreml.make(coreml_job(), tmp_path / "model.mlpackage")
    assert capfd.readouterr() == ("", "")
    assert list(temporary.iterdir()) == []
    assert tempfile.tempdir == str(temporary)


def test_the_converters_failure_is_one_line(tmp_path: Path) -> None:
    """torch.special.i0 is an operation that coremltools has no converter for."""

    class Bessel(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(x)

    model = lively_classifier()
    model.distilbert.transformer.layer[0].ffn.activation = Bessel()
    with pytest.raises(UserError, match="Core ML cannot express this model") as caught:
        coreml.make(coreml_job(model), tmp_path / "model.mlpackage")
    assert "i0" in caught.value.why
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_float16_cannot_hold_is_named(tmp_path: Path) -> None:
    model = lively_classifier()
    with torch.no_grad():
        model.distilbert.transformer.layer[1].ffn.lin2.weight[3, 4] = 70_000.0
    with pytest.raises(UserError, match=r"distilbert\.transformer\.layer\.1\.ffn\.lin2\.weight"):
        coreml.make(coreml_job(model), tmp_path / "model.mlpackage")
    coreml.make(coreml_job(model, compute_precision="float32"), tmp_path / "model.mlpackage")


def test_the_reference_is_not_rounded(tmp_path: Path) -> None:
    model = lively_classifier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    coreml.make(coreml_job(model), tmp_path / "model.mlpackage")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
