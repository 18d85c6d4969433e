"""The program that runs inside the emulator: one artifact, some of the cases, a results file.

It imports numpy, the runtimes and our own light modules; what draws tables, counts or splits words
is not there.

    python -m runtime.emulation.worker BUNDLE --artifact model_int8.onnx --rows 0,1,2 --out FILE
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from runtime.bundle import GOLDEN, open_bundle
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically
from runtime.golden import read_golden
from runtime.parity.evidence import Evidence
from runtime.parity.results import results_document
from runtime.parity.run import AGAIN, run_artifact, session_settings
from runtime.processor import architecture

ERROR = 2
# numpy's names → Linux's, see `runtime.processor`.
_NUMPY_FEATURES = {"AVX2": "avx2", "AVX512F": "avx512f", "AVX512VNNI": "avx512_vnni"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0, or 2 with one line on standard error."""
    # An illegal instruction should leave no core file behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = _parser().parse_args(arguments)
    try:
        _work(asked.bundle, asked.artifact, [int(row) for row in asked.rows.split(",")], asked.out)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runtime.emulation.worker")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--rows", required=True, help="indices of golden cases, with commas")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def _work(folder: Path, name: str, rows: Sequence[int], out: Path) -> None:
    # The host compared the hashes a moment ago; here it would take ten times as long.
    bundle = open_bundle(folder, verify=False)
    golden = read_golden(bundle.file(GOLDEN))

    def tell(_: str, done: int, total: int) -> None:
        sys.stdout.write(f"{done} {total}\n")
        sys.stdout.flush()

    found = run_artifact(
        bundle,
        bundle.artifact(name),
        golden,
        session_settings(bundle),
        tell,
        rows=rows,
        again=AGAIN // 2,  # there is usually a second worker, and each repeats its own
        split=False,  # float32 arithmetic takes hours here, and is the same everywhere
    )
    document = results_document([_with_own_features(found)], golden)
    write_atomically(out, canonical_json(document, indent=None))


def _with_own_features(found: Evidence) -> Evidence:
    """Qemu shows an x86_64 program the host's /proc/cpuinfo; numpy asks the processor itself."""
    if architecture() != "x86_64":
        return found
    core = "numpy._core" if find_spec("numpy._core") else "numpy.core"  # since 2, before
    there = import_module(f"{core}._multiarray_umath").__cpu_features__
    features = tuple(ours for name, ours in _NUMPY_FEATURES.items() if there.get(name))
    return replace(found, machine=replace(found.machine, features=features))


if __name__ == "__main__":
    sys.exit(main())
