"""Runs ``jvm/``: the app's own core on a Java runtime, with the real LiteRT library."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any, TypedDict

from android_demo.toolchain.downloads import Say, installed_file, quiet
from android_demo.toolchain.kotlin import KotlinTools, kotlin_tools
from android_demo.toolchain.pins import pins
from android_demo.toolchain.projects import compile_core, compile_jvm
from runtime.errors import UserError

_MAIN = "dev.mobileexport.jvm.MainKt"
_LIBRARIES = {"linux": "libLiteRt.so", "darwin": "libLiteRt.dylib"}
_SECONDS = 3600


class Answer(TypedDict):
    """What a program says of one text; `probabilities` are in the order of the bundle's labels."""

    ids: list[int]
    logits: list[float]
    probabilities: list[float]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class JvmProgram:
    """The compiled program.

    Attributes:
        tools: for the Java runtime.
        classpath: all that it needs.
        library: LiteRT's.
    """

    tools: KotlinTools
    classpath: tuple[Path, ...]
    library: Path

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line; LiteRT's library is named in it."""
        path = ":".join(str(entry) for entry in self.classpath)
        flags = ["-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED"]
        flags.append(f"-Dmobileexport.litert={self.library}")
        flags.append(f"-Dmobileexport.litert.version={pins().installed['ai-edge-litert']}")
        return [str(self.tools.java), *flags, "-cp", path, _MAIN, *map(str, arguments)]

    def run(self, *arguments: str | Path, said: str = "") -> CompletedProcess[str]:
        """Run it to its end, whatever its status is.

        Args:
            arguments: of the program.
            said: its standard input.
        """
        return run(  # noqa: S603 - a list, and no shell
            self.command(*arguments),
            input=said,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=_SECONDS,
        )

    def encode(self, bundle: Path, texts: Iterable[str]) -> list[tuple[list[int], bool]]:
        """Token ids of texts and whether they were cut, as `TextTokenizer.encode` gives them.

        Raises:
            UserError: the program refuses the bundle; its sentence.
        """
        found = self._answers(["ids", bundle], texts)
        return [(answer["ids"], answer["truncated"]) for answer in found]

    def answers(self, bundle: Path, artifact: str, texts: Iterable[str]) -> list[Answer]:
        """Ids, logits and labels of texts.

        Args:
            bundle: its folder.
            artifact: the artifact's path in it.
            texts: any strings.

        Raises:
            UserError: the program refuses the bundle or the artifact; its sentence.
        """
        found = self._answers(["classify", bundle, "--artifact", artifact], texts)
        return [
            Answer(
                ids=answer["ids"],
                logits=[float(value) for value in answer["logits"]],
                probabilities=[float(value) for value in answer["probabilities"]],
                labels=answer["labels"],
            )
            for answer in found
        ]

    def _answers(
        self, arguments: Sequence[str | Path], texts: Iterable[str]
    ) -> list[dict[str, Any]]:
        # Escaped, so that lone surrogates go through and no text has a line break.
        lines = [json.dumps(text) for text in texts]
        done = self.run(*arguments, said="".join(f"{line}\n" for line in lines))
        if done.returncode:
            raise UserError(_sentence(done))
        found = [json.loads(line) for line in done.stdout.splitlines()]
        if len(found) != len(lines):
            raise UserError(f"the JVM answered {len(found)} of {len(lines)} texts")
        return found


def jvm_program(say: Say = quiet) -> JvmProgram:
    """The program, compiled if it was not, from tools that are fetched if they are not there.

    Raises:
        UserError: a tool cannot be had, the sources do not compile, or LiteRT is not installed.
    """
    name = _LIBRARIES.get(sys.platform)
    if name is None:
        raise UserError(f"LiteRT's C library is not looked for on {sys.platform}")
    library = installed_file("ai-edge-litert", "ai_edge_litert", name)
    tools = kotlin_tools(say)
    core = compile_core(tools, say)
    jvm = compile_jvm(tools, core, say)
    return JvmProgram(tools, (jvm, core, *tools.libraries), library)


def _sentence(done: CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or [f"the JVM ended with status {done.returncode}"]
    own = [line for line in lines if line.startswith("error: ")]
    return (own or lines)[-1].removeprefix("error: ").rstrip(".")
