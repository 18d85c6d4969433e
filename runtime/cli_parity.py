"""parity: judge a bundle here, or what a device wrote; find a fault; test the gate itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from runtime.bundle import Bundle
from runtime.cli_bisect import bisect_command
from runtime.cli_emulate import emulate_command
from runtime.cli_report import HtmlOption, JsonOption, JunitOption, finish
from runtime.cli_selftest import selftest_command
from runtime.console import note, progress_bar
from runtime.errors import UserError
from runtime.parity.api import one_of, open_judged
from runtime.parity.bisect import LayerError, layer_errors
from runtime.parity.judge import ParityReport, judge, judge_evidence
from runtime.parity.results import read_results
from runtime.parity.run import in_all
from runtime.sessions.base import SessionSettings


class _RunByDefault(TyperGroup):
    """`parity BUNDLE` is `parity run BUNDLE`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="Judge a bundle against the PyTorch logits stored in it: parity BUNDLE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

BundleArgument = Annotated[Path, typer.Argument(help="A bundle's folder, such as dist/tflite.")]
ArtifactOption = Annotated[
    str | None, typer.Option(help="Only this artifact: file name, format or recipe.")
]


@app.command(name="run")
def run_command(
    bundle: BundleArgument,
    artifact: ArtifactOption = None,
    report: JsonOption = None,
    junit: JunitOption = None,
    html: HtmlOption = None,
    backend: Annotated[
        str,
        typer.Option(
            help="For Core ML: reference (our executor) or apple (macOS only); auto takes Apple's "
            "where it is."
        ),
    ] = "auto",
    compute_unit: Annotated[
        str,
        typer.Option(help="For Apple's Core ML: all, cpu_only, cpu_and_gpu or cpu_and_ne."),
    ] = "all",
) -> None:
    """Run every artifact on this machine and judge it; `run` may be left out.

    Exit status: 0 pass, 1 fail, 2 could not judge.
    """
    opened, golden, gates = open_judged(bundle)
    opened = one_of(opened, artifact)
    with progress_bar("judging") as progress:
        result = judge(
            opened,
            golden,
            gates,
            backend=backend,
            compute_unit=compute_unit,
            progress=in_all(progress, len(opened.manifest.artifacts)),
        )
    layers = _layers(opened, result) if html is not None else None
    finish(result, golden, opened.manifest, report, junit, html, layers)


def _layers(bundle: Bundle, result: ParityReport) -> dict[str, tuple[LayerError, ...]]:
    """Errors block by block, for the page; nothing where the bundle or the runtime has none."""
    if bundle.manifest.task.gives_vectors:  # they have no trace
        return {}
    settings = SessionSettings.of(bundle.manifest.tokenizer, backend="reference")
    found = {}
    for artifact in result.artifacts:
        try:
            found[artifact.path] = layer_errors(bundle, bundle.artifact(artifact.path), settings)
        except UserError as error:
            note(f"  {artifact.path}: no errors by layer on the page: {error}")
    return found


@app.command(name="replay")
def replay_command(
    golden_path: Annotated[
        Path,
        typer.Argument(metavar="GOLDEN", help="The golden.json of a bundle, or the bundle itself."),
    ],
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="What the device wrote; the README has it.")
    ],
    report: JsonOption = None,
    junit: JunitOption = None,
    html: HtmlOption = None,
) -> None:
    """Judge logits that a device wrote, by the same gate. Needs no inference runtime.

    Exit status: 0 pass, 1 fail, 2 could not judge.
    """
    folder = golden_path if golden_path.is_dir() else golden_path.parent
    opened, golden, gates = open_judged(folder)
    result = judge_evidence(opened, golden, gates, read_results(results, opened, golden))
    finish(result, golden, opened.manifest, report, junit, html)


app.command(name="emulate")(emulate_command)
app.command(name="bisect")(bisect_command)
app.command(name="selftest")(selftest_command)
