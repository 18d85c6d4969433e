from __future__ import annotations

from pathlib import Path

import pytest

from runtime.emulation import qemu
from runtime.emulation.qemu import find_qemu, get_qemu, parse_version, recent_enough
from runtime.errors import UserError
from runtime.provisioning import apt_sources

DEBIANS = "qemu-aarch64 version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright (c) 2003-2025\n"


def program(folder: Path, name: str, version: str) -> Path:
    """A program that tells a version, as an installed emulator does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'qemu-aarch64 version {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv(apt_sources.OVERRIDE, "http://localhost:9/debian")


def test_versions_are_read() -> None:
    assert parse_version(DEBIANS) == "10.0.13"
    assert parse_version("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg)") == "7.2.22"
    assert parse_version("bash: no such thing") == ""


@pytest.mark.parametrize(
    ("version", "good"),
    [("7.2.22", False), ("9.2.4", False), ("10.0.0", True), ("10.1", True), ("11.0.1", True)],
)
def test_old_versions_are_refused(version: str, good: bool) -> None:
    assert recent_enough(version) is good


def test_the_machines_own_is_taken_if_it_will_do(tmp_path: Path) -> None:
    name = "qemu-aarch64"
    if find_qemu(name) is not None:
        pytest.skip("this machine has one in /usr/bin")
    old = program(tmp_path / "bin", name, "7.2.22")
    assert find_qemu(name) is None
    program(tmp_path / "bin", f"{name}-static", "10.0.13")
    found = find_qemu(name)
    assert found is not None
    assert found.program == Path(f"{old}-static")
    assert found.name == "qemu-aarch64 10.0.13"
    assert get_qemu(name) == found
    own = program(tmp_path / "cache" / "emulation" / "qemu", name, "10.1.0")
    assert get_qemu(name).program == own


def test_a_file_that_does_not_run_is_no_emulator(tmp_path: Path) -> None:
    path = program(tmp_path / "cache" / "emulation" / "qemu", "qemu-s390x", "10.0.0")
    path.write_bytes(b"\x7fELF of another processor")
    assert qemu.version_of(path) == ""
    with pytest.raises(UserError, match=r"does not run, or is older than 10\.0"):
        get_qemu("qemu-s390x")


def test_what_cannot_be_fetched_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        get_qemu("qemu-s390x")
    said = str(caught.value)
    assert said.count("\n") == 0
    assert "there is no qemu-s390x of version 10.0 or later" in said
    assert f"place qemu-s390x in {tmp_path / 'cache' / 'emulation' / 'qemu'}" in said
    assert not list((tmp_path / "cache" / "emulation").iterdir()), "nothing half done is left"
