"""Which machine was timed, and whether it had anything else to do."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.processor import architecture, features, flags, processor_name, usable_cores

_PROC = Path("/proc")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
# Share of all processors that others may use before a figure is doubtful.
BUSY = 0.05
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BenchMachine:
    """Everything that a reader needs before comparing figures with another run's.

    Attributes:
        architecture: such as ``x86_64``.
        processor: its name.
        features: instruction sets, `runtime.processor`'s names.
        cores: that this program may use.
        memory_bytes: of the machine; 0 if not known.
        governor: of the processor's frequency; ``unknown`` where the system does not tell.
        virtual: whether it is a virtual machine, as its processor says.
        system: kernel and release.
        load: processes that wanted a core in the last minute.
        busy_share: share of all cores that others used in the second before the run; NaN if not
            known.
    """

    architecture: str
    processor: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    governor: str
    virtual: bool
    system: str
    load: float
    busy_share: float

    @property
    def is_busy(self) -> bool:
        """Whether others took enough of it to move figures."""
        return self.busy_share > BUSY


def bench_machine(seconds: float = _LOOK_SECONDS) -> BenchMachine:
    """This machine, watched for so many seconds while this program does nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return BenchMachine(
        architecture=architecture(),
        processor=processor_name(),
        features=features(),
        cores=usable_cores(),
        memory_bytes=int((_line(_PROC / "meminfo", "MemTotal") or "0 kB").split()[0]) * 1024,
        governor=_text(_CPUFREQ / "scaling_governor") or "unknown",
        virtual="hypervisor" in flags(),
        system=f"{platform.system()} {platform.release()}",
        load=load,
        busy_share=_busy_share(seconds),
    )


def _busy_share(seconds: float) -> float:
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None or after[1] <= before[1]:
        return float("nan")
    return 1.0 - (after[0] - before[0]) / (after[1] - before[1])


def _ticks() -> tuple[int, int] | None:
    """Idle ticks and all ticks; what a hypervisor gave to others (steal) counts as busy."""
    words = _line(_PROC / "stat", "cpu", separator=" ").split()
    if len(words) < 8:
        return None
    ticks = [int(word) for word in words[:8]]
    return ticks[3] + ticks[4], sum(ticks)


def _line(path: Path, name: str, separator: str = ":") -> str:
    """What follows a name in a file of lines; empty where there is no such thing."""
    for line in _text(path).splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return ""


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""
