"""Real processes that end in every way that an emulated one does."""

from __future__ import annotations

import os
import sys
import time

import pytest

from runtime.emulation.process import Job, run_jobs, why_it_ended
from runtime.errors import UserError

QEMU_SAYS = (
    "qemu-x86_64: warning: TCG doesn't support requested feature: CPUID.07H:EBX.hle [bit 4]\n"
    "onnxruntime cpuid_info warning: Unknown CPU vendor. cpuinfo_vendor value: 0\n"
    "qemu: uncaught target signal 4 (Illegal instruction) - core dumped\n"
)


def job(code: str, cases: int = 2) -> Job:
    return Job("m.onnx on cortex-a53", (sys.executable, "-c", code), cases)


def run(*jobs: Job, patience: float = 60.0, at_once: int = 2) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    run_jobs(
        jobs,
        {"PATH": os.environ["PATH"]},
        at_once=at_once,
        patience=patience,
        progress=lambda done, total: seen.append((done, total)),
    )
    return seen


def test_progress_adds_up() -> None:
    tells = "print('1 2', flush=True); print('noise'); print('2 2')"
    seen = run(job(tells), job(tells))
    assert {total for _, total in seen} == {4}
    assert [done for done, _ in seen] == [1, 2, 3, 4] or seen[-1] == (4, 4)


def test_the_workers_own_words_are_the_reason() -> None:
    with pytest.raises(UserError, match=r"m.onnx on cortex-a53 failed") as caught:
        run(job("import sys; sys.stderr.write('error: no such artifact.\\n'); sys.exit(2)"))
    assert caught.value.why == "no such artifact"


def test_an_illegal_instruction_is_named() -> None:
    with pytest.raises(UserError) as caught:
        run(job("import os, signal; os.kill(os.getpid(), signal.SIGILL)"))
    assert "SIGILL" in caught.value.why
    assert "an instruction that this processor does not have" in caught.value.why


def test_silence_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="no sign of life for 1 s"):
        run(job("import time; time.sleep(60)"), patience=1.0)
    assert time.monotonic() - began < 30


def test_slow_but_alive_is_waited_for() -> None:
    code = "import time\nfor i in range(4):\n  print(i, flush=True)\n  time.sleep(0.8)"
    assert run(job(code, 4), patience=3.0)[-1] == (3, 4)


def test_the_first_failure_ends_the_others() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="failed"):
        run(job("import time; time.sleep(60)"), job("raise SystemExit(3)"), job("import time"))
    assert time.monotonic() - began < 30


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UserError, match="cannot be started"):
        run(Job("x", ("/nowhere/qemu-aarch64",), 1))


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (2, "INFO: something\nerror: first.\nerror: the last.\n", "the last"),
        (-11, QEMU_SAYS, "it died of SIGSEGV (Segmentation fault)"),
        (1, QEMU_SAYS + "qemu-aarch64: unable to find CPU model 'foo'\n", "status 1: "),
        (1, QEMU_SAYS, "status 1: qemu: uncaught target signal 4"),
        (3, "", "status 3"),
        (-250, "", "it died of signal 250"),
    ],
)
def test_the_reason_is_one_line(status: int, said: str, reason: str) -> None:
    assert why_it_ended(status, said).startswith(reason)
    assert "\n" not in why_it_ended(status, said)
