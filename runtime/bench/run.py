"""A whole benchmark from a bundle and its peers to a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtime.bench.contestants import Contestant, with_baseline_again
from runtime.bench.driver import Progress, Say, run_threads
from runtime.bench.limit import product_contestants
from runtime.bench.lineup import Lineup
from runtime.bench.machine import BenchMachine, bench_machine
from runtime.bench.plan import BenchPlan
from runtime.bench.report import BenchReport, assemble
from runtime.errors import UserError


def run_bench(
    lineup: Lineup,
    contestants: Sequence[Contestant],
    plan: BenchPlan,
    *,
    baseline: str | None = None,
    skipped: Mapping[str, str] | None = None,
    look: Callable[[], BenchMachine] = bench_machine,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _: None,
) -> BenchReport:
    """Time contestants side by side and judge their answers in the same run.

    Args:
        lineup: the bundles; give inputs, references and shapes. The first one's longest sequence
            is where throughput is measured.
        contestants: artifacts and peers, names unique.
        plan: sizes and effort.
        baseline: name of the contestant that ratios are to; by default the first peer in int8,
            else the first contestant.
        skipped: peer → why it is not here; only passed on to the report.
        look: gives the machine; called before anything runs.
        progress: called with rounds done and in all.
        say: called with one line before something that takes time.

    Raises:
        UserError: the plan or the baseline is not possible.
    """
    plan.check()
    base = _baseline(contestants, baseline)
    cells = plan.cells(lineup.first.manifest.tokenizer.max_length)
    goldens = [member.golden for member in lineup.members]
    machine = look()
    measured = []
    with tempfile.TemporaryDirectory(prefix="mobile-export-") as folder:
        products = product_contestants(lineup.shapes, Path(folder))
        everyone = (*with_baseline_again(contestants, base), *products)
        for number, threads in enumerate(plan.threads):
            measured += run_threads(
                everyone,
                goldens,
                plan,
                cells,
                threads,
                with_golden=number == 0,
                progress=progress,
                say=say,
            )
    return assemble(
        lineup,
        plan,
        machine,
        measured,
        cells=cells,
        baseline=base.name,
        skipped=skipped or {},
    )


def _baseline(contestants: Sequence[Contestant], name: str | None) -> Contestant:
    if name is None:
        peers = [c for c in contestants if c.group == "peer" and c.precision == "int8"]
        return (*peers, *contestants)[0]
    found = [c for c in contestants if c.name == name]
    if not found:
        known = ", ".join(c.name for c in contestants)
        raise UserError(
            f"nothing timed is called {name!r}", todo=f"--baseline takes one of: {known}"
        )
    return found[0]
