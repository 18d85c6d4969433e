"""Which processors can be emulated, and how each is set up."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import runtime
from runtime.emulation.qemu import Qemu, get_qemu
from runtime.emulation.rootfs import get_rootfs
from runtime.errors import UserError

# Architecture → (emulator, processors that are worth a look).
# cortex-a53: no dot product; neoverse-n1: dot product, as phones since 2018; max: all of qemu's.
# Nehalem: SSE4; Haswell: AVX2 without VNNI, where int8 saturates in 16 bits.
PROCESSORS = {
    "arm64": ("qemu-aarch64", ("cortex-a53", "neoverse-n1", "max")),
    "x86_64": ("qemu-x86_64", ("Nehalem", "Haswell")),
}
_OURS = "mobile-export"
# What qemu would otherwise warn of at every start: it emulates no transactions.
_OPTIONS = {("x86_64", "Haswell"): "hle=off,rtm=off"}


@dataclass(frozen=True, slots=True)
class EmulatedMachine:
    """All that is needed to start Python on another processor.

    Attributes:
        architecture: ``arm64`` or ``x86_64``.
        processor: qemu's name for it.
        command: starts the interpreter; its arguments follow.
        path: where it looks for packages before its own.
    """

    architecture: str
    processor: str
    qemu: Qemu
    command: tuple[str, ...]
    path: tuple[Path, ...]

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Variables for the emulated program: nothing of the host's may reach its loader.

        Our own package is linked into a folder of its own: beside it, the host's packages of
        another architecture would be found.
        """
        with tempfile.TemporaryDirectory(prefix="mobile-export-") as name:
            _link_ourselves(Path(name))
            yield {
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(map(str, (*self.path, name))),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUTF8": "1",
                "LC_ALL": "C.UTF-8",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }


def _link_ourselves(folder: Path) -> None:
    """Our code, and which version it says it is: sessions of our own report that."""
    package = Path(runtime.__file__).resolve().parent
    (folder / package.name).symlink_to(package)
    with suppress(PackageNotFoundError):
        version = version_of(_OURS)
        facts = folder / f"{_OURS.replace('-', '_')}-{version}.dist-info"
        facts.mkdir()
        text = f"Metadata-Version: 2.1\nName: {_OURS}\nVersion: {version}\n"
        (facts / "METADATA").write_text(text, encoding="utf-8")


def check_architecture(architecture: str) -> None:
    """Refuse what cannot be emulated.

    Raises:
        UserError: names those that can be.
    """
    if architecture not in PROCESSORS:
        raise UserError(
            f"{architecture!r} cannot be emulated", why=f"known are {', '.join(PROCESSORS)}"
        )


def set_up(
    architecture: str, processor: str, say: Callable[[str], None] = lambda _: None
) -> EmulatedMachine:
    """Make a machine ready; the first time this fetches some 90 MB.

    Args:
        architecture: ``arm64`` or ``x86_64``.
        processor: a name that qemu knows, such as ``cortex-a53``.
        say: called with one line before something that takes time.

    Raises:
        UserError: no such architecture, or its parts cannot be had.
    """
    check_architecture(architecture)
    program, _ = PROCESSORS[architecture]
    if architecture == "x86_64" and sys.platform != "linux":
        raise UserError("another x86_64 processor can be emulated on Linux only")
    qemu = get_qemu(program, say)
    options = _OPTIONS.get((architecture, processor))
    cpu = f"{processor},{options}" if options else processor
    start = (str(qemu.program), "-cpu", cpu)
    if architecture == "x86_64":
        # The host's own Python and packages: the very same files on another processor.
        return EmulatedMachine(architecture, processor, qemu, (*start, sys.executable), ())
    root = get_rootfs(qemu, say)
    command = (*start, "-L", str(root.system), str(root.python))
    return EmulatedMachine(architecture, processor, qemu, command, (root.site,))
