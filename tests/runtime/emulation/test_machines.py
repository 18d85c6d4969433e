from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import runtime
from runtime.emulation.machines import EmulatedMachine
from runtime.emulation.qemu import Qemu

HOSTS_OWN = EmulatedMachine(
    "x86_64", "host", Qemu(Path("/nowhere"), "10.0.0"), (sys.executable, "-S"), (Path("/first"),)
)
TELL = """
import json, os, sys
from importlib.metadata import version
import runtime
where = runtime.__path__[0], os.path.realpath(runtime.__path__[0])
print(json.dumps([sys.path, dict(os.environ), where, version("mobile-export")]))
"""


def test_the_emulated_program_finds_our_code_and_nothing_else_of_the_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu")
    monkeypatch.setenv("PYTHONHOME_OF_THE_HOST", "1")
    with HOSTS_OWN.environment() as variables:
        done = subprocess.run(
            [*HOSTS_OWN.command, "-c", TELL],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
    path, environment, (where, real), told = json.loads(done.stdout)
    assert told == version("mobile-export"), "our own sessions report it"
    assert Path(real) == Path(runtime.__file__).resolve().parent
    assert "/first" in path
    assert not [entry for entry in path if entry.endswith("site-packages")]
    assert not [name for name in environment if name.startswith("LD_") or "HOST" in name]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert not Path(where).parent.exists(), "the folder is gone when the run is over"
