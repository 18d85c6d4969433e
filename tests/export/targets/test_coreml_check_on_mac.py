"""The script for a Mac, as far as it runs elsewhere: everything but Apple's `predict`.

Our executor takes that one's place and really runs the package.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_support import coreml_job

from export.reference import reference_logits
from export.targets import coreml
from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.golden import VALIDATION, Golden, GoldenCase

SEQUENCES = ((5,), (9, 3, 77), tuple(range(1, 9)), tuple(range(40, 60)))


def script(folder: Path) -> Any:
    """The companion, loaded from the bundle as a Mac would run it."""
    specification = importlib.util.spec_from_file_location(
        "check_on_mac_test", folder / "check_on_mac.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def predict_with(package: Path, mode: Any) -> Any:
    executor = Executor(read_package(package), ExecutorSettings(mode=mode))

    def predict(inputs: dict[str, Any]) -> Mapping[str, Any]:
        assert {array.dtype for array in inputs.values()} == {np.dtype(np.int32)}
        return executor.run(inputs)

    return predict


def write_bundle(folder: Path, *, kind: str, **options: str) -> tuple[Any, dict[str, Any], Any]:
    """The files that the script reads; returns it, the manifest and the cases."""
    job = coreml_job(kind=kind, **options)
    package = folder / "model.mlpackage"
    coreml.make(job, package)
    description = coreml.describe(package)
    (folder / "check_on_mac.py").write_text(coreml.companions(None)["check_on_mac.py"])  # type: ignore[arg-type]
    loaded, predict = script(folder), predict_with(package, "f16")
    cases = tuple(
        GoldenCase(f"validation/{n}", VALIDATION, "", ids, (1,) * len(ids), None)
        for n, ids in enumerate(SEQUENCES)
    )
    expected = [predict(loaded.padded(ids, description.lengths, 0))["logits"] for ids in SEQUENCES]
    golden = Golden(
        cases,
        reference_logits(job.source.reference, SEQUENCES),
        {package.name: np.concatenate(expected).astype(np.float32)},
    )
    (folder / "golden.json").write_text(golden.dump())
    task = job.source.task
    manifest = {
        "task": {"kind": task.kind, "thresholds": task.thresholds},
        "tokenizer": {"pad_id": 0, "pad_side": "right"},
        "artifacts": [{"path": package.name, "lengths": description.lengths}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    read = json.loads((folder / "manifest.json").read_text())
    return loaded, read, json.loads((folder / "golden.json").read_text())["cases"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("single_label", {}),
        ("multi_label", {"shapes": "enumerated", "deployment_target": "iOS18"}),
        ("single_label", {"shapes": "range", "outputs": "classifier"}),
    ],
)
def test_a_good_package_passes_and_a_bad_one_does_not(
    tmp_path: Path, kind: str, options: dict[str, str]
) -> None:
    loaded, manifest, cases = write_bundle(tmp_path, kind=kind, **options)
    artifact, package = manifest["artifacts"][0], tmp_path / "model.mlpackage"
    text, share = loaded.check(predict_with(package, "f16"), artifact, manifest, cases)
    # golden.json tells float32 values in the fewest digits.
    assert share < 1e-6
    assert "0 of 4 decisions differ" in text
    text, share = loaded.check(predict_with(package, "f16acc"), artifact, manifest, cases)
    assert 0.0 < share < loaded.TOLERANCE
    faithful = predict_with(package, "f16")
    for spoiled in (
        lambda inputs: {"logits": np.nan * faithful(inputs)["logits"]},
        lambda inputs: {"logits": -faithful(inputs)["logits"]},
        lambda inputs: {"logits": faithful(inputs)["logits"][:, ::-1]},
    ):
        text, share = loaded.check(spoiled, artifact, manifest, cases)
        assert not share <= loaded.TOLERANCE, text
    assert "0 of 4" not in text


def test_padding() -> None:
    from export.targets.coreml import check_on_mac

    fixed = check_on_mac.padded([7, 8, 9], [8, 16], 1)
    np.testing.assert_array_equal(fixed["input_ids"], [[7, 8, 9, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(fixed["attention_mask"], [[1, 1, 1, 0, 0, 0, 0, 0]])
    assert check_on_mac.padded(range(9), [8, 16], 0)["input_ids"].shape == (1, 16)
    free = check_on_mac.padded([7, 8, 9], None, 1)
    np.testing.assert_array_equal(free["input_ids"], [[7, 8, 9]])
    left = check_on_mac.padded([7, 8, 9], [4], 1, "left")
    np.testing.assert_array_equal(left["input_ids"], [[1, 7, 8, 9]])
    np.testing.assert_array_equal(left["attention_mask"], [[0, 1, 1, 1]])
    assert {array.dtype for array in (*fixed.values(), *free.values())} == {np.dtype(np.int32)}


def test_decisions() -> None:
    from export.targets.coreml import check_on_mac

    logits = np.array([[0.0, 2.0], [3.0, -1.5]])
    single = check_on_mac.decisions(logits, {"kind": "single_label", "thresholds": None})
    np.testing.assert_array_equal(single, [1, 0])
    many = check_on_mac.decisions(logits, {"kind": "multi_label", "thresholds": [0.6, 0.1]})
    np.testing.assert_array_equal(many, [[False, True], [True, True]])


@pytest.mark.skipif(sys.platform == "darwin", reason="it runs there")
def test_refused_off_macos_in_one_line(tmp_path: Path) -> None:
    """Without the house's packages: -I leaves the working folder and PYTHONPATH out."""
    path = tmp_path / "check_on_mac.py"
    path.write_text(coreml.companions(None)["check_on_mac.py"])  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-I", str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["Apple's runtime exists on macOS only; run this on a Mac."]


def test_the_script_is_short() -> None:
    assert len(coreml.companions(None)["check_on_mac.py"].splitlines()) < 100  # type: ignore[arg-type]
