"""Which processor produced a figure: int8 arithmetic differs by instruction set."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

# Linux's names of what runtimes choose their integer kernels by. AVX2 without a VNNI saturates in
# 16 bits (onnxruntime#14642); arm64 without asimddp has no dot product.
_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "sme",
)


# Other names of the same: Windows', Linux's and Android's.
_SAME = {"amd64": "x86_64", "x86-64": "x86_64", "aarch64": "arm64", "arm64-v8a": "arm64"}


def architecture() -> str:
    """This machine's architecture under one name per kind, such as ``x86_64`` or ``arm64``."""
    return architecture_of(platform.machine())


def architecture_of(machine: str) -> str:
    """The one name of an architecture that systems call by several."""
    return _SAME.get(machine.lower(), machine.lower())


def features() -> tuple[str, ...]:
    """Instruction sets that int8 results depend on; empty where the system does not tell."""
    there = flags()
    return tuple(feature for feature in _FEATURES if feature in there)


def flags() -> frozenset[str]:
    """Everything that Linux says of a core, such as ``avx2`` or ``hypervisor``."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def processor_name() -> str:
    """Its maker's name for it; ``unknown`` where the system does not tell."""
    return _cpuinfo("model name") or platform.processor() or "unknown"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo(name: str) -> str:
    """The first value of a name; empty where there is none."""
    with suppress(OSError):
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
