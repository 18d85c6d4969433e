"""core/'s own JUnit tests, run on the JVM; and the runner, which must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_demo.toolchain.downloads import ToolUnavailableError
from android_demo.toolchain.junit import read_results, run_junit
from android_demo.toolchain.kotlin import KotlinTools
from android_demo.toolchain.projects import (
    CORE_TESTS,
    DEMO,
    compile_core,
    compile_core_tests,
    junit_jars,
)
from runtime.errors import UserError

PLANTED = """
package planted

import org.junit.Assert.assertEquals
import org.junit.Test
import dev.mobileexport.core.BundleException

class PlantedTest {
    @Test fun passes() = assertEquals("a", BundleException("a").message)

    @Test fun fails() {
        println("noise\\n1) noise(too)")
        assertEquals("two\\nlines", 1, 2)
    }

    @Test fun throws(): Unit = throw BundleException("planted")
}
"""
LEAVES = """
package planted

import org.junit.Test

class LeavingTest {
    @Test fun leaves() {
        System.exit(0)
    }
}
"""


@pytest.fixture(scope="session")
def junit() -> tuple[Path, ...]:
    try:
        return junit_jars()
    except ToolUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def core(tools: KotlinTools) -> Path:
    return compile_core(tools)


@pytest.fixture(scope="session")
def planted(
    tools: KotlinTools,
    core: Path,
    junit: tuple[Path, ...],  # fetched, or skipped, before anything is compiled
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return _compile(tools, core, tmp_path_factory.mktemp("planted"), PLANTED)


def test_every_test_of_core_passes(tools: KotlinTools, core: Path, junit: tuple[Path, ...]) -> None:
    tests = compile_core_tests(tools, core, CORE_TESTS)
    results = run_junit(tools, tests, (core, *junit), folder=DEMO / "core")
    assert not results.failures, "\n".join(
        f"{failure}\n  {failure.stack[:5]}" for failure in results.failures
    )
    annotated = sum(
        file.read_text(encoding="utf-8").count("@Test") for file in CORE_TESTS.rglob("*.kt")
    )
    assert results.tests == annotated > 0


def test_a_planted_failure_is_reported(
    tools: KotlinTools, core: Path, junit: tuple[Path, ...], planted: Path, tmp_path: Path
) -> None:
    results = run_junit(tools, planted, (core, *junit), folder=tmp_path)
    assert results.tests == 3
    found = {failure.test: failure for failure in results.failures}
    assert set(found) == {"fails(planted.PlantedTest)", "throws(planted.PlantedTest)"}
    wrong = found["fails(planted.PlantedTest)"]
    assert "expected:<1> but was:<2>" in wrong.message and "two\nlines" in wrong.message
    assert any("Planted.kt:13" in frame for frame in wrong.stack), wrong.stack
    assert "planted" in found["throws(planted.PlantedTest)"].message


def test_no_tests_at_all_is_a_failure(tools: KotlinTools, core: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no tests"):
        run_junit(tools, core, (core,), folder=tmp_path)


def test_a_run_that_ends_too_early_is_a_failure(
    tools: KotlinTools, core: Path, junit: tuple[Path, ...], tmp_path: Path
) -> None:
    tests = _compile(tools, core, tmp_path, LEAVES)
    with pytest.raises(UserError, match=r"did not run to their end \(status 0\)"):
        run_junit(tools, tests, (core, *junit), folder=tmp_path)


def test_without_junit_the_runner_says_what_java_says(
    tools: KotlinTools, core: Path, planted: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="JUnitCore"):
        run_junit(tools, planted, (core,), folder=tmp_path)


def test_summaries_are_read_strictly() -> None:
    passed = read_results("JUnit version 4.13.2\n..\nTime: 0.1\n\nOK (2 tests)\n\n")
    assert passed is not None and passed.tests == 2 and not passed.failures
    assert read_results("JUnit version 4.13.2\n..") is None
    # A failure that is announced and not described is no result.
    assert read_results("\nFAILURES!!!\nTests run: 3,  Failures: 1\n") is None


def _compile(tools: KotlinTools, core: Path, folder: Path, text: str) -> Path:
    sources = folder / "sources"
    sources.mkdir()
    (sources / "Planted.kt").write_text(text, encoding="utf-8")
    return compile_core_tests(tools, core, sources)
