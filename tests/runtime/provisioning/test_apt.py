from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.provisioning import apt as apt_module
from runtime.provisioning.apt import private_apt, unpack
from runtime.provisioning.apt_sources import OVERRIDE, AptSource

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs Debian's apt")
NOBODY_ANSWERS = "http://localhost:9/debian"


def test_without_apt_the_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="apt-get is missing"), private_apt("trixie", "arm64"):
        pass


@needs_apt
def test_no_debian_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OVERRIDE, raising=False)
    monkeypatch.setattr(apt_module, "read_sources", lambda: ())
    with pytest.raises(UserError) as caught, private_apt("trixie", "arm64"):
        pass
    assert "not configured for Debian" in caught.value.what
    assert OVERRIDE in caught.value.todo


@needs_apt
def test_an_archive_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, NOBODY_ANSWERS)
    with pytest.raises(UserError) as caught, private_apt("trixie", "arm64"):
        pass
    assert "apt-get update failed" in caught.value.what
    assert NOBODY_ANSWERS in caught.value.why


@needs_apt
def test_an_unsigned_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "dists" / "trixie"
    (release / "main" / "binary-arm64").mkdir(parents=True)
    (release / "main" / "binary-arm64" / "Packages").touch()
    (release / "Release").write_text("Suite: trixie\nComponents: main\nArchitectures: arm64\n")
    monkeypatch.setenv(OVERRIDE, f"file:{tmp_path}")
    with pytest.raises(UserError) as caught, private_apt("trixie", "arm64"):
        pass
    assert "not signed" in caught.value.why or "InRelease" in caught.value.why


def test_apts_files_are_all_in_the_private_folder(tmp_path: Path) -> None:
    apt = apt_module.PrivateApt(tmp_path, "arm64")
    source = AptSource("http://one.invalid/debian", ("bookworm",), ("main",), "-----BEGIN\n .\n x")
    apt_module._lay_out(apt, source, "trixie", 'Acquire::http::Proxy "http://p.invalid";\n')
    assert (tmp_path / "debian.sources").read_text() == (
        "Types: deb\nURIs: http://one.invalid/debian\nSuites: trixie\nComponents: main\n"
        "Architectures: arm64\nSigned-By: -----BEGIN\n .\n x\n"
    )
    config = (tmp_path / "apt.conf").read_text()
    assert "Proxy" in config
    assert "trusted" not in config.lower()
    for name in ("Dir::State::status", "Dir::State::lists", "Dir::Cache", "Dir::Etc::parts"):
        assert f'{name} "{tmp_path}' in config


@needs_apt
def test_the_hosts_packages_and_architecture_are_not_seen(tmp_path: Path) -> None:
    apt = apt_module.PrivateApt(tmp_path, "arm64")
    source = AptSource("http://one.invalid/debian", (), ("main",))
    apt_module._lay_out(apt, source, "trixie", apt_module._host_settings())
    dumped = subprocess.run(
        ["apt-config", "dump"],
        env=apt_module._environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'APT::Architecture "arm64";' in dumped
    assert dumped.count("APT::Architectures:: ") == 1
    assert f'Dir::State::status "{tmp_path}/status";' in dumped
    assert "Post-Invoke" not in dumped, "hooks of the host may touch the host's files"


@needs_apt
def test_a_package_is_unpacked_and_not_installed(tmp_path: Path) -> None:
    control = tmp_path / "made" / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: mobile-export-probe\nVersion: 1\nArchitecture: arm64\nMaintainer: n <n@n.n>\n"
        "Description: x\n"
    )
    (control / "postinst").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (control / "postinst").chmod(0o755)
    (tmp_path / "made" / "usr").mkdir()
    (tmp_path / "made" / "usr" / "file").write_text("content")
    deb = tmp_path / "probe.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "made", deb], check=True, capture_output=True)
    unpack([deb], tmp_path / "root")
    assert (tmp_path / "root" / "usr" / "file").read_text() == "content"
    assert not (tmp_path / "ran").exists()
    deb.write_bytes(b"no package")
    with pytest.raises(UserError, match=r"probe\.deb cannot be unpacked"):
        unpack([deb], tmp_path / "other")
