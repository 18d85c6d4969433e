"""The real old runtimes, fetched with pip into environments of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_support import with_bytes

from export.targets import tflite
from export.targets.tflite._flatbuffer import load
from export.targets.tflite._packing import packed
from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.compat.judge import Ran
from runtime.compat.run import (
    CompatSettings,
    artifacts_of,
    environments_folder,
    place_of,
    run_compat,
)
from runtime.compat.runtimes import chosen, read_runtimes
from runtime.errors import UserError
from runtime.golden import read_golden
from runtime.parity.document import read_gates

pytestmark = pytest.mark.slow

OLD = (
    "tflite-runtime==2.14.0",
    "ai-edge-litert==1.0.1",
    "onnxruntime==1.16.3",
    "onnxruntime==1.17.0",
)


@pytest.fixture(scope="module")
def fetched() -> str:
    """The names of those that can be had here, as --only takes them."""
    found = []
    for name in OLD:
        (runtime,) = chosen(read_runtimes(), ["onnx", "tflite"], name)
        try:
            place_of(runtime, environments_folder())
        except UserError:
            continue
        found.append(name)
    if not found:
        pytest.skip("no old runtime can be had here")
    return ",".join(found)


def _run(bundle: Bundle, only: str, path: str | None = None) -> list[Ran]:
    artifacts = artifacts_of(bundle, path)
    runtimes = chosen(read_runtimes(), [a.format for a in artifacts], only)
    report = run_compat(
        bundle, artifacts, read_golden(bundle.file(GOLDEN)), read_gates(bundle.file(PARITY)),
        runtimes, CompatSettings(plain=True), folder=environments_folder(),
    )  # fmt: skip
    assert not report.skipped
    return report.runs


def test_every_artifact_is_right_or_refused(bundle: Bundle, fetched: str) -> None:
    for ran in _run(bundle, fetched):
        assert ran.outcome in ("right", "refused"), (ran.artifact, ran.where, ran.why)
        too_old = ran.runtime.name == "onnxruntime 1.16.3"
        too_old |= ran.runtime.package == "tflite-runtime" and "int8" in ran.artifact
        assert (ran.outcome == "refused") == too_old, (ran.artifact, ran.where, ran.why)


def test_lowered_operator_versions_are_garbage_in_tflite_runtime(
    bundle: Bundle, fetched: str, tmp_path: Path
) -> None:
    """As the quantizer leaves them: the file loads, runs, and is wrong without a word."""
    if "tflite-runtime==2.14.0" not in fetched:
        pytest.skip("tflite-runtime 2.14.0 cannot be had here")
    model = load(bundle.file("model_int8.tflite"))
    versions = {c.builtinCode: c.version for c in load(bundle.file("model.tflite")).operatorCodes}
    for code in model.operatorCodes:
        code.version = versions[code.builtinCode]
    lowered = with_bytes(bundle, tmp_path / "b", "model_int8.tflite", packed(model))
    assert tflite.shortfalls(lowered.file("model_int8.tflite"))
    runs = _run(lowered, "tflite-runtime==2.14.0", "model_int8.tflite")
    assert [ran.outcome for ran in runs] == ["garbage", "garbage"]
    # A newer runtime does not look at the number, and is right.
    if "ai-edge-litert==1.0.1" in fetched:
        newer = _run(lowered, "ai-edge-litert==1.0.1", "model_int8.tflite")
        assert [ran.outcome for ran in newer] == ["right", "right"]


@pytest.mark.parametrize("path", ["model.onnx", "model_int8.tflite"])
def test_a_truncated_file_is_never_answered(
    bundle: Bundle, fetched: str, tmp_path: Path, path: str
) -> None:
    """Older TFLite runtimes read past the end and die, so their users must compare hashes first."""
    content = bundle.file(path).read_bytes()
    cut = with_bytes(bundle, tmp_path / "b", path, content[: len(content) // 2])
    kind = bundle.artifact(path).format
    only = [name for name in fetched.split(",") if name.startswith("onnx") == (kind == "onnx")]
    for ran in _run(cut, ",".join(only), path):
        dies = ran.runtime.format == "tflite" and ran.outcome == "crashed"
        assert (ran.outcome == "refused" or dies) and not ran.cases, (ran.where, ran.outcome)
