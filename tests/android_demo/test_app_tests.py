"""The app and its instrumented tests compile; faults in them are found, with file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from android_demo.toolchain.apk_resources import MAIN
from android_demo.toolchain.app_tests import APP_TESTS, compile_app_tests
from android_demo.toolchain.debian_tools import AndroidTools, get_android_tools
from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.kotlin import CompileError, KotlinTools


@pytest.fixture(scope="module")
def android() -> AndroidTools:
    try:
        return get_android_tools()
    except ToolUnavailableError as error:
        pytest.skip(str(error))


def test_the_instrumented_tests_compile(tools: KotlinTools, android: AndroidTools) -> None:
    classes = compile_app_tests(tools, android)
    names = {file.stem for file in classes.rglob("*.class")}
    assert {"GoldenReplayTest", "MainActivityTest", "Device"} <= names


@pytest.mark.parametrize(
    ("source", "file", "old", "new", "message"),
    [
        (MAIN, "LiteRtTextModel.kt", "(it, key)", "(0, key)", "argument type mismatch"),
        (APP_TESTS, "MainActivityTest.kt", "recreate()", "rotate()", "unresolved reference"),
    ],
)
def test_a_planted_fault_is_found(
    tmp_path: Path,
    tools: KotlinTools,
    android: AndroidTools,
    source: Path,
    file: str,
    old: str,
    new: str,
    message: str,
) -> None:
    copy = tmp_path / "src"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("assets"))
    (damaged,) = copy.rglob(file)
    text = damaged.read_text(encoding="utf-8")
    assert old in text
    damaged.write_text(text.replace(old, new), encoding="utf-8")
    main, tests = (copy, APP_TESTS) if source == MAIN else (MAIN, copy)
    with pytest.raises(CompileError) as error:
        compile_app_tests(tools, android, main=main, tests=tests)
    found = error.value.diagnostics
    assert any(Path(d.file).name == file and message in d.message for d in found), found
