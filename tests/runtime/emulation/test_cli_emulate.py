from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime import cli_emulate
from runtime.cli_emulate import differences, differences_table
from runtime.emulation.driver import _check_version
from runtime.emulation.machines import PROCESSORS, check_architecture
from runtime.errors import UserError
from runtime.parity.evidence import Evidence, Machine

HERE = Evidence(
    "m.onnx",
    "ab",
    Machine("x86_64"),
    {},
    (0, 3),
    np.array([[1, 2], [3, 4]], dtype=np.float32),
)
THERE = replace(
    HERE,
    machine=Machine("arm64", "cortex-a53", emulator="qemu-aarch64 10.0.2"),
    logits=np.array([[1, 2.5], [3, 3.75]], dtype=np.float32),
)


def test_the_largest_difference_per_artifact_and_processor() -> None:
    (found,) = differences([HERE, THERE])
    assert (found.artifact, found.machine) == ("m.onnx", "arm64 cortex-a53")
    assert (found.largest, found.mean, found.other) == (0.5, 0.1875, 0.5)
    assert differences_table([found]).row_count == 1


def test_not_a_number_is_not_lost() -> None:
    broken = THERE.logits.copy()
    broken[0, 0] = np.nan
    (found,) = differences([HERE, replace(THERE, logits=broken)])
    assert math.isnan(found.largest)


@pytest.mark.parametrize("control", [[], [replace(HERE, rows=(0, 4))]])
def test_unlike_runs_are_never_compared(control: list[Evidence]) -> None:
    with pytest.raises(UserError, match="did not run the same cases"):
        differences([*control, THERE])


def test_processors_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_emulate, "architecture", lambda: "x86_64")
    assert cli_emulate._processors("arm64", "") == PROCESSORS["arm64"][1]
    assert cli_emulate._processors("x86_64", "") == ()
    assert cli_emulate._processors("x86_64", "Haswell") == ("Haswell",)
    assert cli_emulate._processors("arm64", " max, cortex-a53,max") == ("max", "cortex-a53")


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UserError, match="'mips' cannot be emulated"):
        check_architecture("mips")


def test_other_versions_in_the_emulator_are_refused() -> None:
    _check_version({"runtime": "numpy", "version": np.__version__})
    _check_version({"runtime": "mobile-export's own executor", "version": "1"})
    with pytest.raises(UserError, match=r"has numpy 1.0 and this machine"):
        _check_version({"runtime": "numpy", "version": "1.0"})
