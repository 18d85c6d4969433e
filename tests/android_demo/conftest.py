"""Tools that are fetched and compiled once, for every test of the demo."""

from __future__ import annotations

import pytest

from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.jvm import JvmProgram, jvm_program
from android_demo.toolchain.kotlin import KotlinTools, kotlin_tools


@pytest.fixture(scope="session")
def tools() -> KotlinTools:
    """The Kotlin compiler and a Java runtime; without a network the tests that need them skip."""
    try:
        return kotlin_tools()
    except ToolUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def jvm(tools: KotlinTools) -> JvmProgram:
    """The app's core and the JVM program around it, compiled."""
    return jvm_program()
