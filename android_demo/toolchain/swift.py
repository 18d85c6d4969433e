"""Builds and tests the iOS package on Linux, with Debian's Swift in a private root.

The compiler is of a newer Debian than this machine may be. It is unpacked, not installed, and run
by `unshare` in a mount namespace of its own, so that nothing of the host changes and no rights are
needed. There is no Core ML here: the file that calls it is type-checked against Apple's documented
declarations, and not run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_demo.toolchain.downloads import (
    ROOT,
    Say,
    ToolUnavailableError,
    android_cache,
    debian_folder,
    quiet,
)
from runtime.errors import UserError
from runtime.files import json_number

IOS = ROOT / "android_demo" / "ios"
COREML_DECLARATIONS = Path(__file__).with_name("coreml_api")

_PIN = "swift"
_SECONDS = 900
# Where things lie for the compiler, whose caches hold absolute paths.
_PACKAGE, _BUILD, _DECLARATIONS, _RESULTS = "/package", "/build", "/declarations", "/results"
_PROGRAM = f"{_BUILD}/release/mobile-text"
# Debian's packages expect these, which another package makes.
_LINKS = ("bin", "sbin", "lib", "lib64")
_ENTER = """
set -e
root=$1; shift
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --rbind "$1" "$root$2"; shift 2; done; shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" /usr/bin/env -i "$@"
"""
_ENVIRONMENT = {
    "PATH": "/usr/libexec/swift/bin:/usr/bin",
    "HOME": "/home",
    "LC_ALL": "C.UTF-8",
}
_FORBIDDEN = re.compile(r"^(?:unshare|mount): .*(?:not permitted|denied|failed).*$", re.MULTILINE)
_EXECUTED = re.compile(r"Executed (\d+) tests?, with (?:(\d+) tests? skipped and )?(\d+) failures?")


@dataclass(frozen=True, slots=True)
class Done:
    """A program that ran to its end."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class SwiftTests:
    """What `swift test` said.

    Attributes:
        tests: how many ran.
        skipped: how many of them had nothing to run on.
        failures: the lines that tell of one.
    """

    tests: int
    skipped: int
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SwiftTools:
    """A private root with a Swift compiler.

    Attributes:
        root: what programs see as ``/``.
    """

    root: Path

    def run(
        self,
        *command: str,
        mounts: Mapping[Path, str],
        environment: Mapping[str, str] | None = None,
        questions: str | None = None,
    ) -> Done:
        """Run a program of the root.

        Args:
            command: found on the root's own PATH.
            mounts: folder here → where the program sees it, an absolute path.
            environment: besides PATH, HOME and LC_ALL.
            questions: standard input.

        Raises:
            ToolUnavailableError: this machine does not allow namespaces.
            UserError: the program takes too long.
        """
        pairs = [part for here, inside in mounts.items() for part in (str(here), inside)]
        settings = [f"{k}={v}" for k, v in {**_ENVIRONMENT, **(environment or {})}.items()]
        enter = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c", _ENTER]
        program = shutil.which("unshare")
        if program is None:
            raise ToolUnavailableError(
                "Swift cannot be run on this machine", why="the program unshare is missing"
            )
        try:
            done = subprocess.run(  # noqa: S603 - a list, and a script of our own
                [program, *enter, "sh", str(self.root), *pairs, "--", *settings, *command],
                input=questions or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{' '.join(command[:2])} took more than {_SECONDS} s") from error
        if done.returncode and (said := _FORBIDDEN.search(done.stderr)):
            raise ToolUnavailableError(
                "Swift cannot be run on this machine",
                why=f"it needs a mount namespace of its own: {said[0]}",
            )
        return Done(done.returncode, done.stdout, done.stderr)


def swift_tools(say: Say = quiet) -> SwiftTools:
    """The compiler, fetched if it is not there.

    Raises:
        ToolUnavailableError: it cannot be fetched here and now.
    """
    root = debian_folder(_PIN, say)
    for name in _LINKS:
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "tmp", "home"):
        (root / name).mkdir(exist_ok=True)
    return SwiftTools(root)


@dataclass(frozen=True, slots=True)
class SwiftProgram:
    """The package's command line, compiled for this machine."""

    tools: SwiftTools

    def run(self, command: str, bundle: Path, *arguments: str, questions: str = "") -> Done:
        """Run one of its commands on a bundle, which it sees at the very same path."""
        bundle = bundle.absolute()
        return self.tools.run(
            *(_PROGRAM, command, str(bundle), *arguments),
            mounts={_build_folder(): _BUILD, bundle: str(bundle)},
            questions=questions,
        )

    def encode(
        self, bundle: Path, texts: Iterable[str], form: str = "coreml"
    ) -> list[tuple[list[int], bool]]:
        """Ids of each text, and whether it was cut.

        Args:
            bundle: for its tokenizer.
            texts: without lone surrogates, which a Swift string cannot hold.
            form: format of the artifacts that are verified.

        Raises:
            UserError: what the program refused, in its words.
        """
        answers = self._answers("encode", bundle, form, [json.dumps(text) for text in texts])
        return [(answer["ids"], answer["truncated"]) for answer in answers]

    def decide(
        self, bundle: Path, logits: Iterable[Iterable[float]], form: str = "coreml"
    ) -> list[tuple[list[str], list[float]]]:
        """The labels of each row of logits, likeliest first, and all probabilities in label order.

        Raises:
            UserError: what the program refused, in its words.
        """
        rows = [json.dumps([json_number(float(value)) for value in row]) for row in logits]
        answers = self._answers("decide", bundle, form, rows)
        return [(answer["labels"], answer["probabilities"]) for answer in answers]

    def _answers(self, command: str, bundle: Path, form: str, questions: list[str]) -> list[Any]:
        done = self.run(command, bundle, form, questions="".join(f"{q}\n" for q in questions))
        if done.status:
            said = done.errors.strip().removeprefix("error: ") or f"status {done.status}"
            raise UserError(f"the Swift program refuses {bundle.name}", why=said)
        return [json.loads(line) for line in done.output.splitlines()]


def swift_program(tools: SwiftTools, say: Say = quiet) -> SwiftProgram:
    """The package's command line, built if a source changed.

    Raises:
        UserError: it does not compile; the compiler's words.
    """
    say("compiling the Swift package")
    done = _swift(tools, "build", "--configuration", "release", "--product", "mobile-text")
    if done.status:
        raise UserError("the Swift package does not compile", why=_told(done))
    return SwiftProgram(tools)


def run_tests(
    tools: SwiftTools, bundle: Path | None = None, results: Path | None = None, say: Say = quiet
) -> SwiftTests:
    """Compile the package with its tests and run them.

    Args:
        tools: the compiler.
        bundle: with Core ML packages, whose golden texts are replayed; those tests are skipped
            without one.
        results: folder for results.json, which the replay writes.
        say: told what is done.

    Raises:
        UserError: they do not compile, or cannot be run to their end.
    """
    say("running the Swift package's tests")
    mounts, environment = {}, {}
    if bundle is not None:
        mounts[bundle.absolute()] = str(bundle.absolute())
        environment["MOBILE_EXPORT_BUNDLE"] = str(bundle.absolute())
    if results is not None:
        mounts[results.absolute()] = _RESULTS
        environment["MOBILE_EXPORT_RESULTS"] = f"{_RESULTS}/results.json"
    done = _swift(tools, "test", mounts=mounts, environment=environment)
    counts = _EXECUTED.findall(done.output + done.errors)
    if not counts:
        raise UserError("the Swift package's tests do not run", why=_told(done))
    tests, skipped, failed = (int(number or 0) for number in counts[-1])
    failures = tuple(
        line for line in (done.output + done.errors).splitlines() if ": error: " in line
    )
    if done.status and not failures:
        failures = (_told(done),)
    if failed and not failures:
        failures = (f"{failed} tests failed",)
    return SwiftTests(tests, skipped, failures)


def type_errors(tools: SwiftTools, package: Path = IOS) -> list[str]:
    """The compiler's errors for library and program, calls of Core ML among them.

    Core ML itself is not here: its declarations are, as Apple documents them.

    Args:
        tools: the compiler.
        package: the folder with ``Sources``.
    """

    def sources(target: str) -> list[str]:
        found = sorted((package / "Sources" / target).glob("*.swift"))
        return [f"{_PACKAGE}/Sources/{target}/{path.name}" for path in found]

    library = ("-module-name", "MobileExport", *sources("MobileExport"))
    module = f"{_RESULTS}/MobileExport.swiftmodule"
    program = ("-module-name", "mobile_text", "-parse-as-library", *sources("mobile-text"))
    steps = (
        ("-typecheck", *library),
        # Without the bodies of functions: what the program sees of the library.
        ("-emit-module", "-emit-module-path", module, *library),
        ("-typecheck", "-I", _RESULTS, *program),
    )
    with tempfile.TemporaryDirectory(prefix="mobile-export-swift-") as folder:
        mounts = {package: _PACKAGE, COREML_DECLARATIONS: _DECLARATIONS, Path(folder): _RESULTS}
        for step in steps:
            done = tools.run(
                "swiftc", "-swift-version", "6", "-I", _DECLARATIONS, *step, mounts=mounts
            )
            if done.status:
                found = [line for line in done.errors.splitlines() if ": error: " in line]
                return found or [_told(done)]
    return []


def style_problems(tools: SwiftTools) -> list[str]:
    """What swift-format, which comes with the compiler, would write in another way."""
    done = tools.run(
        *("env", f"--chdir={_PACKAGE}", "swift", "format", "lint", "--strict", "--recursive", "."),
        mounts={IOS: _PACKAGE},
    )
    return (done.output + done.errors).splitlines() if done.status else []


def _build_folder() -> Path:
    folder = android_cache() / "swift-build"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _swift(
    tools: SwiftTools,
    command: str,
    *arguments: str,
    mounts: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Done:
    return tools.run(
        *("swift", command, "--package-path", _PACKAGE, "--scratch-path", _BUILD),
        # Its sandbox is a macOS program; this root is one already.
        *("--disable-sandbox", *arguments),
        mounts={IOS: _PACKAGE, _build_folder(): _BUILD, **(mounts or {})},
        environment=environment,
    )


def _told(done: Done) -> str:
    lines = (done.output + done.errors).splitlines()
    wrong = [line for line in lines if "error: " in line]
    return (wrong or lines or [f"it ended with status {done.status}"])[0].strip()
