"""Compiles the app and its instrumented tests; only a device or an emulator can run these.

AndroidX's test libraries cannot be had here: declarations of what the tests call stand in for them
and are packaged nowhere.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from android_demo.toolchain.android_classes import compile_app, kept_r_java
from android_demo.toolchain.apk_resources import MAIN, link_resources, read_app_settings
from android_demo.toolchain.debian_tools import AndroidTools
from android_demo.toolchain.downloads import Say, quiet
from android_demo.toolchain.kotlin import KotlinTools, Module, compile_module
from android_demo.toolchain.projects import DEMO, junit_jars

APP_TESTS = DEMO / "app" / "src" / "androidTest" / "kotlin"
_ANDROIDX_TEST_API = DEMO / "toolchain" / "androidx_test_api"


def compile_app_tests(
    kotlin: KotlinTools,
    tools: AndroidTools,
    say: Say = quiet,
    *,
    main: Path = MAIN,
    tests: Path = APP_TESTS,
) -> Path:
    """Compile core, the app and its instrumented tests against Android's classes.

    Args:
        kotlin: compiler and libraries.
        tools: Android's classes and aapt2, which numbers the resources.
        say: told of what takes time.
        main: the app's ``src/main``.
        tests: Kotlin files of the instrumented tests.

    Returns:
        The tests' class folder.

    Raises:
        CompileError: something does not compile, with files and lines.
        UserError: aapt2 refuses a resource or the manifest.
    """
    with tempfile.TemporaryDirectory() as work:
        r_java = link_resources(main, read_app_settings(), tools, Path(work)).r_java
    app = compile_app(r_java, kotlin, tools, say, app=main / "kotlin")
    platform = (tools.android_jar, *junit_jars(say))
    androidx = compile_module(
        Module("androidx-test-api", (_ANDROIDX_TEST_API,), classpath=platform, with_jdk=False),
        kotlin,
        say,
    )
    module = Module(
        "app-android-test",
        (tests, kept_r_java(r_java)),
        classpath=(*platform, androidx, app.core, app.litert, app.app),
        # Gradle lets tests see what is internal to the module they test.
        friends=(app.app,),
        with_jdk=False,
    )
    return compile_module(module, kotlin, say)
