from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.emulation.qemu import Qemu
from runtime.emulation.rootfs import (
    Rootfs,
    get_rootfs,
    pip_arguments,
    release_for,
    wheels_like_here,
)
from runtime.errors import UserError
from runtime.provisioning import apt_sources

NOT_NEEDED = Qemu(Path("/nowhere/qemu-aarch64"), "10.0.0")


@pytest.mark.parametrize(
    ("python", "release"),
    [
        ((3, 10), "bookworm"),
        ((3, 11), "bookworm"),
        ((3, 12), "bookworm"),
        ((3, 13), "trixie"),
        ((3, 14), "trixie"),
    ],
)
def test_the_release_follows_the_hosts_python(python: tuple[int, int], release: str) -> None:
    assert release_for(python) == release


def test_the_emulated_packages_are_the_hosts() -> None:
    wheels = wheels_like_here()
    for name in ("numpy", "onnxruntime", "ai-edge-litert", "threadpoolctl"):
        assert f"{name}=={version(name)}" in wheels


def test_pip_takes_wheels_for_arm64_and_runs_nothing(tmp_path: Path) -> None:
    arguments = pip_arguments("bookworm", ("numpy==2.3.5",), tmp_path)
    assert "--only-binary=:all:" in arguments
    assert arguments[-1] == "numpy==2.3.5"
    assert arguments[arguments.index("--python-version") + 1] == "3.11"
    platforms = [b for a, b in pairwise(arguments) if a == "--platform"]
    assert all(platform.endswith("_aarch64") for platform in platforms)
    assert {"manylinux2014_aarch64", "manylinux_2_28_aarch64"} <= set(platforms)
    assert "manylinux_2_39_aarch64" not in platforms, "bookworm's glibc is 2.36"
    assert "manylinux_2_39_aarch64" in pip_arguments("trixie", (), tmp_path)


def test_a_system_placed_by_hand_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path))
    programs = tmp_path / "emulation" / "arm64" / "system" / "usr" / "bin"
    programs.mkdir(parents=True)
    root = get_rootfs(NOT_NEEDED)
    with pytest.raises(UserError, match=r"has no usr/bin/python3.11"):
        _ = root.python
    (programs / "python3.11").touch()
    (programs / "python3").touch()
    assert root.python == programs / "python3.11"
    assert root == Rootfs(tmp_path / "emulation" / "arm64")


@pytest.mark.slow
def test_what_cannot_be_fetched_is_told_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path))
    monkeypatch.setenv(apt_sources.OVERRIDE, "http://localhost:9/debian")
    with pytest.raises(UserError) as caught:
        get_rootfs(NOT_NEEDED)
    said = str(caught.value)
    assert said.count("\n") == 0
    assert "there is no arm64 system to run" in said
    assert str(tmp_path / "emulation" / "arm64" / "system") in said
    assert wheels_like_here()[0] in said
    assert not list((tmp_path / "emulation").iterdir())
