from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import processor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model\t: x\nflags\t\t: fpu avx2 avx512_vnni foo\n", ("avx2", "avx512_vnni")),
        ("Features\t: fp asimd asimddp\n", ("asimd", "asimddp")),
        ("nothing here\n", ()),
    ],
)  # fmt: skip
def test_features_are_read_as_linux_writes_them(
    text: str, expected: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor.features() == expected


def test_without_the_file_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert processor.features() == ()


@pytest.mark.parametrize(
    ("machine", "name"), [("AMD64", "x86_64"), ("aarch64", "arm64"), ("riscv64", "riscv64")]
)
def test_one_name_per_architecture(
    machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert processor.architecture() == name


def test_its_name_and_every_flag_are_read_from_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(
        "model name\t: A Chip\nflags\t\t: avx2 hypervisor\n\nflags\t: x\n"
    )
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor.processor_name() == "A Chip"
    assert processor.flags() == {"avx2", "hypervisor"}


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert processor.usable_cores() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processor.usable_cores() == os.cpu_count()
