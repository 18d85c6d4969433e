"""The Gradle project is consistent, and every check can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from android_demo.toolchain.downloads import ROOT
from android_demo.toolchain.gradle_files import gradle_problems, scripts
from android_demo.toolchain.gradle_scripts import syntax_problems
from android_demo.toolchain.kotlin import KotlinTools
from android_demo.toolchain.projects import DEMO
from runtime.errors import UserError

CATALOG = "gradle/libs.versions.toml"
WRAPPER = "gradle/wrapper/gradle-wrapper.properties"
APP = "app/build.gradle.kts"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the checks read, copied, so that it can be damaged."""
    demo = tmp_path / "android_demo"
    demo.mkdir()
    for file in [*DEMO.glob("*.gradle.kts"), DEMO / "gradlew", DEMO / "gradlew.bat"]:
        shutil.copy(file, demo)
    shutil.copytree(DEMO / "gradle", demo / "gradle")
    for module in ("app", "core"):
        (demo / module).mkdir()
        shutil.copy(DEMO / module / "build.gradle.kts", demo / module)
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def problems(checkout: Path) -> list[str]:
    return gradle_problems(checkout / "android_demo", checkout)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_project_is_consistent() -> None:
    assert gradle_problems(DEMO, ROOT) == []


def in_demo(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda checkout: replace(checkout / "android_demo" / name, old, new)


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a version that floats": (
        in_demo(CATALOG, 'junit = "4.13.2"', 'junit = "4.+"'),
        "junit = '4.+' is not one exact version",
    ),
    "the latest version": (
        in_demo(CATALOG, 'agp = "9.4.0"', 'agp = "latest.release"'),
        "agp = 'latest.release' is not one exact version",
    ),
    "a range": (
        in_demo(CATALOG, 'junit = "4.13.2"', 'junit = "[4.13,5.0)"'),
        "junit = '[4.13,5.0)' is not one exact version",
    ),
    "a rich version": (
        in_demo(CATALOG, 'junit = "4.13.2"', 'junit = { prefer = "4.13.2" }'),
        "is not one exact version",
    ),
    "a snapshot": (
        in_demo(
            CATALOG, 'kotlinx-serialization = "1.11.0"', 'kotlinx-serialization = "1.11-SNAPSHOT"'
        ),
        "is not one exact version",
    ),
    "a library with a version of its own": (
        in_demo(
            CATALOG,
            'module = "junit:junit", version.ref = "junit"',
            'module = "junit:junit", version = "4.13.2"',
        ),
        "libraries.junit names no version.ref",
    ),
    "a reference to no version": (
        in_demo(CATALOG, 'version.ref = "agp"', 'version.ref = "agb"'),
        "version.ref agb has no entry",
    ),
    "a version that nothing uses": (
        in_demo(CATALOG, "[libraries]", 'spare = "1.0"\n[libraries]'),
        "spare is declared and no script uses libs.versions.spare",
    ),
    "an alias that is not declared": (
        in_demo(APP, "libs.androidx.test.core", "libs.androidx.test.cores"),
        "libs.androidx.test.cores is not in gradle/libs.versions.toml",
    ),
    "a coordinate in a script": (
        in_demo(
            APP,
            "implementation(libs.litert)",
            'implementation("com.google.ai.edge.litert:litert:2.3.0")',
        ),
        "is a version outside the catalog",
    ),
    "a repository of a module": (
        in_demo(APP, "dependencies {", 'repositories { maven { url = uri("x") } }\ndependencies {'),
        "maven names a repository of its own",
    ),
    "modules may add repositories": (
        in_demo("settings.gradle.kts", "FAIL_ON_PROJECT_REPOS", "PREFER_PROJECT"),
        "set FAIL_ON_PROJECT_REPOS",
    ),
    "a module that is not there": (
        in_demo("settings.gradle.kts", '":core"', '":cores"'),
        "the module cores has no build.gradle.kts",
    ),
    "another LiteRT than the wheel's": (
        in_demo(CATALOG, 'litert = "2.3.0"', 'litert = "2.2.0"'),
        "litert is 2.2.0, and constraints.txt pins ai-edge-litert to 2.3.0",
    ),
    "a wheel that moved on alone": (
        lambda checkout: replace(
            checkout / "constraints.txt", "ai-edge-litert==2.3.0", "ai-edge-litert==2.4.0"
        ),
        "constraints.txt pins ai-edge-litert to 2.4.0",
    ),
    "a Gradle too old": (
        in_demo(WRAPPER, "gradle-9.6.1-bin.zip", "gradle-9.5.0-bin.zip"),
        "Gradle 9.5.0 is older than 9.6.0",
    ),
    "an Android plugin that nobody looked up": (
        in_demo(CATALOG, 'agp = "9.4.0"', 'agp = "9.9.0"'),
        "nobody has noted which Gradle",
    ),
    "another host": (
        in_demo(WRAPPER, "services.gradle.org", "mirror.example"),
        "distributionUrl is not the -bin.zip of a release",
    ),
    "no checksum": (
        in_demo(WRAPPER, "distributionSha256Sum=", "#distributionSha256Sum="),
        "distributionSha256Sum is missing",
    ),
    "a changed wrapper": (
        lambda checkout: flip(checkout / "android_demo/gradle/wrapper/gradle-wrapper.jar"),
        "gradle-wrapper.jar is none that Gradle is known to have published",
    ),
    "a wrapper that is not executable": (
        lambda checkout: (checkout / "android_demo" / "gradlew").chmod(0o644),
        "gradlew is not executable",
    ),
}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(checkout: Path, name: str) -> None:
    plant, sentence = PLANTED[name]
    plant(checkout)
    found = problems(checkout)
    assert any(sentence in problem for problem in found), found


def test_a_library_that_no_script_uses_is_found(checkout: Path) -> None:
    for module in ("app", "core"):
        file = checkout / "android_demo" / module / "build.gradle.kts"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("(libs.junit)", "(libs.litert)"), encoding="utf-8")
    assert f"{CATALOG}: junit is declared and no script uses libs.junit" in problems(checkout)


def test_a_comment_is_no_use(checkout: Path) -> None:
    file = checkout / "android_demo" / APP
    replace(file, "implementation(libs.litert.gpu)", "// implementation(libs.litert.gpu)")
    assert f"{CATALOG}: litert-gpu is declared and no script uses libs.litert.gpu" in problems(
        checkout
    )


@pytest.mark.parametrize("content", [None, "[versions\n"])
def test_a_catalog_that_cannot_be_read_is_a_sentence(checkout: Path, content: str | None) -> None:
    catalog = checkout / "android_demo" / CATALOG
    catalog.unlink() if content is None else catalog.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"libs\.versions\.toml"):
        problems(checkout)


def test_every_script_parses(tools: KotlinTools) -> None:
    found = scripts(DEMO)
    assert [script.relative_to(DEMO).as_posix() for script in found] == [
        "app/build.gradle.kts",
        "build.gradle.kts",
        "core/build.gradle.kts",
        "settings.gradle.kts",
    ]
    assert syntax_problems(found, DEMO, tools) == []


def test_scripts_that_do_not_parse_are_found(checkout: Path, tools: KotlinTools) -> None:
    demo = checkout / "android_demo"
    # One fault a file, all at once: the compiler takes seconds to start.
    replace(demo / "settings.gradle.kts", '":app", ":core"', '":app" ":core"')
    replace(demo / APP, "    compileSdk = 36", "    compileSdk = = 36")
    replace(demo / "build.gradle.kts", "plugins {", "plugins ")
    replace(demo / "core/build.gradle.kts", "import org", "import org.")
    found = syntax_problems(scripts(demo), demo, tools)
    for place in ("settings.gradle.kts:25:", f"{APP}:7:", "build.gradle.kts:", "core/build.gradle"):
        assert any(problem.startswith(place) for problem in found), found
