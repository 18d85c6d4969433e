"""The real thing, where the emulator is in the cache or MOBILE_EXPORT_EMULATION=1 fetches it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from runtime.bundle import GOLDEN, Bundle
from runtime.cli_emulate import emulate_command
from runtime.emulation.driver import emulate
from runtime.emulation.qemu import LOWEST, find_qemu
from runtime.errors import UserError
from runtime.golden import Golden, read_golden
from runtime.parity.evidence import Evidence
from runtime.parity.run import run_artifact, session_settings
from runtime.provisioning.cache import cache_folder

FETCH = os.environ.get("MOBILE_EXPORT_EMULATION") == "1"
# Tests may change the folder that they run in.
CACHE = cache_folder("emulation")
needs_arm64 = pytest.mark.skipif(
    not FETCH and not ((CACHE / "arm64").is_dir() and find_qemu("qemu-aarch64")),
    reason="the emulator is not set up: parity emulate --setup-only, or MOBILE_EXPORT_EMULATION=1",
)
needs_x86 = pytest.mark.skipif(
    not FETCH and find_qemu("qemu-x86_64") is None,
    reason="the emulator is not set up: parity emulate --setup-only, or MOBILE_EXPORT_EMULATION=1",
)
ROWS = (0, 40)

app = typer.Typer()
app.command()(emulate_command)


@pytest.fixture
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.file(GOLDEN))


def on(bundle: Bundle, golden: Golden, name: str, architecture: str, processor: str) -> Evidence:
    (found,) = emulate(
        bundle,
        golden,
        [bundle.artifact(name)],
        architecture=architecture,
        processor=processor,
        rows=ROWS,
        jobs=1,
    )
    return found


@needs_arm64
def test_arm64_runs_the_runtimes_own_build(bundle: Bundle, golden: Golden) -> None:
    found = on(bundle, golden, "model_int8.onnx", "arm64", "cortex-a53")
    spec = bundle.artifact("model_int8.onnx")
    here = run_artifact(bundle, spec, golden, session_settings(bundle), rows=ROWS, split=False)
    assert found.machine.architecture == "arm64"
    assert found.machine.processor == "cortex-a53"
    assert found.machine.features == ("asimd",), "a cortex-a53 has no dot product"
    assert found.machine.emulator.startswith("qemu-aarch64 ")
    assert found.environment["machine"] == "aarch64"
    assert found.environment["version"] == here.environment["version"]
    assert found.rows == ROWS
    assert set(found.measured) == set(here.measured)
    np.testing.assert_allclose(found.logits, here.logits, atol=0.05)


@needs_arm64
def test_features_follow_the_processor(bundle: Bundle, golden: Golden) -> None:
    found = on(bundle, golden, "model_int8.tflite", "arm64", "neoverse-n1")
    assert found.machine.features == ("asimd", "asimddp")
    assert np.isfinite(found.logits).all()


@needs_x86
def test_x86_without_avx_runs_this_python(bundle: Bundle, golden: Golden) -> None:
    found = on(bundle, golden, "model_int8.onnx", "x86_64", "Nehalem")
    assert found.machine.architecture == "x86_64"
    assert found.machine.features == (), "qemu shows the host's /proc/cpuinfo; it must not be read"
    assert found.machine.emulator.startswith("qemu-x86_64 ")


@needs_arm64
def test_an_unknown_processor_is_one_line(bundle: Bundle, golden: Golden) -> None:
    with pytest.raises(UserError) as caught:
        on(bundle, golden, "model_int8.onnx", "arm64", "no-such-cpu")
    assert "no-such-cpu" in caught.value.why
    assert "\n" not in str(caught.value)


@needs_arm64
@pytest.mark.slow
def test_the_command_shows_both_side_by_side(bundle_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "parity.json"
    done = CliRunner().invoke(
        app,
        [
            *(str(bundle_folder), "--cpu=neoverse-n1", "--limit=4"),
            *("--artifact=model_int8.onnx", f"--json={report}"),
        ],
    )
    assert done.exit_code in (0, 1, 2), done.output
    assert done.output.count("model_int8.onnx") >= 3
    assert "neoverse-n1" in done.output
    assert '"emulator": "qemu-aarch64' in report.read_text()


@pytest.mark.slow
def test_set_up_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["--setup-only", "--cpu", "max"])
    assert done.exit_code == 0, done.output
    found = find_qemu("qemu-aarch64")
    assert found is not None
    assert tuple(map(int, found.version.split(".")[:2])) >= LOWEST
    assert (tmp_path / "emulation" / "arm64" / "site" / "onnxruntime").is_dir()
    assert not [p for p in (tmp_path / "emulation").iterdir() if p.name.startswith(".")]
