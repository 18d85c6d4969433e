"""Android's build tools as Debian packages them: unpacked, not installed.

The native programs run on the C library that came with them, so the host's may be older or newer.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.downloads import Say, debian_folder, quiet
from runtime.errors import UserError
from runtime.provisioning.tools import run_tool

_BUILD_TOOLS = "usr/lib/android-sdk/build-tools/debian"
_JARS = "usr/share/java"
_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class AndroidTools:
    """Android's build tools and what an app is built against.

    Attributes:
        programs: root folder of the native programs.
        framework: Android's own resources (API 29), against which the app's are linked.
        android_jar: Android's classes (API 23), against which the app is compiled.
        dx: jar of the compiler from Java's bytecode to Android's.
        apksigner: class path of the signer.
    """

    programs: Path
    framework: Path
    android_jar: Path
    dx: Path
    apksigner: str

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run aapt2, zipalign or dexdump and return what it printed.

        Raises:
            UserError: it failed; with its first words.
        """
        done = self.start(program, *arguments)
        if done.returncode:
            raise UserError(f"{program} failed", why=complaint(done))
        return done.stdout

    def start(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run aapt2, zipalign or dexdump to its end, whatever its status is.

        Raises:
            UserError: it cannot be started or takes too long.
        """
        root = self.programs
        libraries = [
            *sorted(root.glob("lib/*-linux-gnu*")),
            *sorted(root.glob("usr/lib/*-linux-gnu*")),
            *sorted(root.glob("usr/lib/*-linux-gnu*/android")),
            root / "usr/lib",
            root / "usr/lib/p7zip",
        ]
        return run_tool(
            str(_loader(root)),
            "--library-path",
            os.pathsep.join(map(str, libraries)),
            root / _BUILD_TOOLS / program,
            *arguments,
            timeout=_TIMEOUT,
        )


def get_android_tools(say: Say = quiet) -> AndroidTools:
    """The build tools; fetched once: 40 MB, 100 MB unpacked.

    Args:
        say: called with one line before something that takes time.

    Raises:
        ToolUnavailableError: they cannot be fetched here and now.
        UserError: Debian has other versions than the pinned ones.
    """
    jars = debian_folder("android-jars", say)
    legacy = debian_folder("android-legacy", say)
    return AndroidTools(
        programs=debian_folder("android-programs", say),
        framework=jars / "usr/share/android-framework-res/framework-res.apk",
        android_jar=legacy / _JARS / "com.android.android-23.jar",
        dx=legacy / _JARS / "com.android.dx.jar",
        # The signer's own manifest names the other jar by a folder of the host.
        apksigner=f"{jars / _JARS / 'apksigner.jar'}{os.pathsep}{jars / _JARS / 'apksig.jar'}",
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The first telling line that a failed program wrote."""
    lines = [line.strip() for line in (*done.stderr.splitlines(), *done.stdout.splitlines())]
    said = [line for line in lines if line]
    errors = [line for line in said if "error" in line.lower() or "exception" in line.lower()]
    return (errors or said or [f"status {done.returncode}, and it does not say why"])[0]


def _loader(root: Path) -> Path:
    found = sorted(root.glob("lib/*-linux-gnu*/ld-linux*.so.*"))
    if not found:
        raise UserError(f"{root} has no C library", todo=f"remove {root} and run this again")
    return found[0]
