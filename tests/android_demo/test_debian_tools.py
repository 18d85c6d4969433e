from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from android_demo.toolchain.debian_tools import AndroidTools
from android_demo.toolchain.downloads import android_cache
from runtime.errors import UserError

from apk_support import all_tools
from support import ROOT


@pytest.fixture(scope="module")
def tools() -> AndroidTools:
    return all_tools()[1]


def test_the_programs_run_on_the_c_library_that_came_with_them(tools: AndroidTools) -> None:
    done = tools.start("aapt2", "version")
    assert done.returncode == 0
    assert "Android Asset Packaging Tool" in done.stdout + done.stderr
    assert Path(done.args[0]).is_relative_to(android_cache())
    assert "ld-linux" in done.args[0]


def test_android_comes_with_classes_and_resources(tools: AndroidTools) -> None:
    with zipfile.ZipFile(tools.android_jar) as jar:
        assert "android/app/Activity.class" in jar.namelist()
    with zipfile.ZipFile(tools.framework) as framework:
        assert "resources.arsc" in framework.namelist()


def test_a_failing_program_is_quoted(tools: AndroidTools, tmp_path: Path) -> None:
    manifest = tmp_path / "AndroidManifest.xml"
    manifest.write_text("<manifest/>", encoding="utf-8")
    arguments = ("-I", tools.framework, "--manifest", manifest, "-o", tmp_path / "x.apk")
    with pytest.raises(UserError, match=r"aapt2 failed\. .*package"):
        tools.run("aapt2", "link", *arguments)


def test_the_second_time_needs_no_apt_and_no_network(tools: AndroidTools) -> None:
    program = "from android_demo.toolchain.debian_tools import get_android_tools as get\n"
    program += "tools = get(print)\nprint(tools.start('aapt2', 'version').returncode)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PATH": "/nowhere", "MOBILE_EXPORT_DEBIAN": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "0\n"
