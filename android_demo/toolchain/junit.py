"""Runs compiled JUnit 4 tests and reads what JUnit's own console runner says of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.kotlin import KotlinTools
from runtime.errors import UserError
from runtime.provisioning.tools import run_tool

_RUNNER = "org.junit.runner.JUnitCore"
# How a class file refers to the annotation, whatever the test is called.
_MARK = b"Lorg/junit/Test;"
_SECONDS = 900
_PASSED = re.compile(r"^OK \((\d+) tests?\)$", re.MULTILINE)
_FAILED = re.compile(r"^Tests run: (\d+),  Failures: (\d+)$", re.MULTILINE)
_FAILURE = re.compile(r"^\d+\) (?P<test>\S+\(\S+\)|\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TestFailure:
    """A test that failed.

    Attributes:
        test: ``method(class)``.
        message: what it says, without the stack.
        stack: where, a line a frame.
    """

    __test__ = False  # the name is JUnit's, and pytest would collect it

    test: str
    message: str
    stack: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        return f"{self.test}: {' '.join(self.message.split())}"


@dataclass(frozen=True, slots=True)
class JUnitResults:
    """What a run gave.

    Attributes:
        tests: how many ran.
        failures: those that failed.
    """

    tests: int
    failures: tuple[TestFailure, ...]


def test_classes(folder: Path) -> list[str]:
    """Names of the classes below a folder that have JUnit 4 tests."""
    found = []
    for file in sorted(folder.rglob("*.class")):
        if _MARK in file.read_bytes():
            found.append(".".join(file.relative_to(folder).with_suffix("").parts))
    return found


test_classes.__test__ = False  # type: ignore[attr-defined]


def run_junit(
    tools: KotlinTools,
    tests: Path,
    classpath: Sequence[Path],
    *,
    folder: Path,
    properties: Mapping[str, str] | None = None,
) -> JUnitResults:
    """Run every test below a class folder.

    Args:
        tools: for the Java runtime and Kotlin's libraries.
        tests: the class folder.
        classpath: what they test, and JUnit.
        folder: where they run; Gradle takes the module's folder.
        properties: system properties.

    Raises:
        UserError: there is no test, or the runner did not come to its end.
    """
    classes = test_classes(tests)
    if not classes:
        raise UserError(f"{tests} has no tests", why="no class there has a method with @Test")
    path = ":".join(str(entry) for entry in (tests, *classpath, *tools.libraries))
    flags = [f"-D{name}={value}" for name, value in (properties or {}).items()]
    done = run_tool(
        str(tools.java),
        *("-Xmx1g", "-XX:+UseSerialGC", *flags, "-cp", path, _RUNNER, *classes),
        folder=folder,
        timeout=_SECONDS,
    )
    results = read_results(done.stdout)
    if results is None:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise UserError(
            f"the tests did not run to their end (status {done.returncode})",
            why=f"Java says: {said[0]}",
        )
    if results.tests == 0:
        raise UserError("no test ran", why=f"JUnit found none in {', '.join(classes)}")
    return results


def read_results(said: str) -> JUnitResults | None:
    """What JUnit's console runner printed; None if its last line is not there."""
    if passed := _PASSED.search(said):
        return JUnitResults(int(passed[1]), ())
    failed = list(_FAILED.finditer(said))
    if not failed:
        return None
    summary = failed[-1]
    failures = _failures(said[: summary.start()])
    if len(failures) != int(summary[2]):
        return None
    return JUnitResults(int(summary[1]), failures)


def _failures(said: str) -> tuple[TestFailure, ...]:
    # Before this line there are dots, and whatever the tests printed.
    _, _, said = said.partition("\nThere w")
    starts = list(_FAILURE.finditer(said))
    found = []
    for start, following in itertools.zip_longest(starts, starts[1:]):
        end = following.start() if following else len(said)
        lines = said[start.end() : end].removesuffix("\nFAILURES!!!\n").splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith("\tat ")), len(lines))
        stack = tuple(line.strip() for line in lines[first:] if line.strip())
        found.append(TestFailure(start["test"], "\n".join(lines[:first]).strip(), stack))
    return tuple(found)
