"""bench: how fast, large and right a bundle's artifacts are, beside what else could be picked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from runtime.bench.contestants import Contestant, contestants_of_all
from runtime.bench.conversions import Workshop, checked_checkpoint, kept_checkpoint
from runtime.bench.document import bench_document
from runtime.bench.lineup import lineup_of
from runtime.bench.peers import ALL, DEFAULT_LIST, NONE, chosen, read_peers
from runtime.bench.plan import LENGTHS, THREADS, BenchPlan
from runtime.bench.run import run_bench
from runtime.bench.table import print_report
from runtime.bundle import Bundle, open_bundle
from runtime.console import err, note, out, progress_bar
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically
from runtime.provisioning.cache import cache_folder


def bench_command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles' folders, such as dist/tflite. The first is what the others are held "
            "against, and what peers are made from."
        ),
    ],
    artifact: Annotated[
        str | None,
        typer.Option(help="Only these: file name, format, recipe or precision."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            help="all, none, or names with commas, such as optimum,litert-torch; all where "
            "the checkpoint is found."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="What the first bundle was made from, for the peers; build/checkpoints is looked "
            "into."
        ),
    ] = None,
    lengths: Annotated[str, typer.Option(help="Sequence lengths, with commas.")] = ",".join(
        map(str, LENGTHS)
    ),
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = ",".join(
        map(str, THREADS)
    ),
    batch: Annotated[int, typer.Option(min=1, help="Rows of a request.")] = 1,
    throughput: Annotated[
        int, typer.Option(min=0, help="Rows where only the total counts; 0 leaves it out.")
    ] = 16,
    rounds: Annotated[
        int | None, typer.Option(help="How often everyone is asked; else as --seconds allows.")
    ] = None,
    sittings: Annotated[
        int, typer.Option(min=1, help="How often everyone starts anew; the rounds are shared out.")
    ] = 3,
    seconds: Annotated[float, typer.Option(min=1.0, help="For the timing itself, about.")] = 180.0,
    baseline: Annotated[
        str | None, typer.Option(help="Whom ratios are to; by default the first int8 peer.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1.0, help="Seconds without an answer until a worker is ended.")
    ] = 300.0,
    export_python: Annotated[
        Path | None, typer.Option(help="The interpreter that makes bundles, for some peers.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--json", help="Also write the report as JSON.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write one HTML page.")] = None,
) -> None:
    """Time artifacts and peers in one interleaved run, with the machine's limit and parity.

    Exit status: 0 if everything that was there ran, 1 if an artifact of the bundle failed, 2 if
    nothing could be timed.
    """
    plan = BenchPlan(
        lengths=_numbers(lengths, "--lengths"),
        threads=_numbers(threads, "--threads"),
        batch=batch,
        throughput=throughput,
        rounds=rounds,
        sittings=sittings,
        seconds=seconds,
        patience=patience,
    )
    plan.check()
    _check_folders(report, html)
    opened = [open_bundle(folder) for folder in bundles]
    lineup = lineup_of(opened)
    ours = contestants_of_all(opened, [member.label for member in lineup.members], artifact)
    others, skipped = _peers(opened[0], peers, checkpoint, export_python)
    with progress_bar("timing") as progress:
        result = run_bench(
            lineup,
            (*ours, *others),
            plan,
            baseline=baseline,
            skipped=skipped,
            progress=progress,
            say=_say,
        )
    print_report(result)
    if report is not None:
        write_atomically(report, canonical_json(bench_document(result)))
    if html is not None:
        from runtime.bench.html import bench_page

        write_atomically(html, bench_page(result))
    for path in (report, html):
        if path is not None:
            out.print(f"report: {path}", markup=False)
    failed = [row for row in result.rows if row.failure and row.contestant.group == "ours"]
    if failed:
        raise typer.Exit(2 if len(failed) == len(ours) * len(plan.threads) else 1)


def _peers(
    bundle: Bundle, wanted: str | None, checkpoint: Path | None, export_python: Path | None
) -> tuple[tuple[Contestant, ...], dict[str, str]]:
    """Peers that can be had, and why the others cannot."""
    if wanted == NONE:
        return (), {}
    folder = checked_checkpoint(checkpoint, bundle) if checkpoint else kept_checkpoint(bundle)
    if folder is None:
        if wanted is not None:
            raise UserError(
                "--peers needs the checkpoint that the bundle was made from",
                why=f"build/checkpoints does not hold {bundle.manifest.source.model}",
                todo="give --checkpoint FOLDER",
            )
        note("· no peers: they are made from the bundle's checkpoint; give --checkpoint FOLDER")
        return (), {}
    if wanted is None and not DEFAULT_LIST.is_file():
        note("· no peers: their list comes with the package export, which is not installed")
        return (), {}
    listed = read_peers()
    picked = chosen(listed.peers, wanted or ALL)
    workshop = Workshop(
        listed=listed,
        home=DEFAULT_LIST.parent,
        folder=cache_folder("peers"),
        checkpoint=folder,
        bundle=bundle,
        export_python=export_python,
        say=_say,
    )
    found, skipped = workshop.contestants(picked)
    for name, why in skipped.items():
        note(f"· skipped {name}: {why}")
    return found, skipped


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UserError(f"{option} is {text!r}, not whole numbers with commas") from error
    return numbers


def _check_folders(*paths: Path | None) -> None:
    """A run of minutes should not end in a folder that is not there."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{path} cannot be written", why=f"{path.parent} is not a folder")


def _say(text: str) -> None:
    err.print(f"[dim]·[/] {escape(text)} …")
