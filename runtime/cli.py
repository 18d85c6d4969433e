"""Commands that need no torch: parity, classify, inspect, embed, bench, compat."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime.bundle import open_bundle
from runtime.classify import Classification, TextClassifier
from runtime.cli_bench import bench_command
from runtime.cli_compat import compat_command
from runtime.cli_embed import embed_command
from runtime.cli_parity import app as parity_app
from runtime.cli_support import lines_of, run
from runtime.console import megabytes, out
from runtime.errors import UserError
from runtime.manifest import Manifest
from runtime.sessions.base import SessionSettings
from runtime.weights_table import weights_line, weights_table

app = typer.Typer(
    help="Run and judge bundles on this machine. Needs no torch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(parity_app, name="parity")
app.command(name="embed")(embed_command)
app.command(name="bench")(bench_command)
app.command(name="compat")(compat_command)

BundleArgument = Annotated[Path, typer.Argument(help="A bundle's folder, such as dist/tflite.")]


@app.command()
def classify(
    bundle: BundleArgument,
    text: Annotated[
        str | None, typer.Argument(help="The text; without it lines come from --file or stdin.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A UTF-8 file with a text on every line.")
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(help="File name, format or recipe; the smallest artifact by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per text.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
) -> None:
    """Print label and probabilities for a text, a file or standard input."""
    if text is not None and file is not None:
        raise UserError("both a text and --file were given", todo="give one of them")
    opened = open_bundle(bundle)
    chosen = opened.artifact(artifact)
    settings = SessionSettings.of(opened.manifest.tokenizer, threads=threads)
    classifier = TextClassifier(opened, chosen, settings)
    if text is not None:
        answer = classifier.classify(text)
        out.print(_json(answer) if as_json else _one(answer, chosen.path), soft_wrap=True)
        return
    if file is None and sys.stdin.isatty():
        raise UserError("there is no text", todo='give one: … classify BUNDLE "text", or --file')
    for answer in classifier.classify_all(lines_of(file)):
        sys.stdout.write(_json(answer) if as_json else _row(answer))
        sys.stdout.write("\n")


def _row(answer: Classification) -> str:
    best = next(iter(answer.probabilities.items()))
    labels = ",".join(answer.labels) or "(none)"
    text = answer.text.replace("\t", " ")
    return f"{labels}\t{best[1]:.4f}\t{text}"


def _json(answer: Classification) -> str:
    value = {
        "text": answer.text,
        "labels": answer.labels,
        "probabilities": answer.probabilities,
        "truncated": answer.truncated,
    }
    return json.dumps(value, ensure_ascii=True)


def _one(answer: Classification, path: str) -> Table:
    table = Table(title=", ".join(answer.labels) or "(no label)", title_justify="left", box=None)
    table.caption = path + (" · the text was cut to the model's length" if answer.truncated else "")
    table.add_column("label")
    table.add_column("probability", justify="right")
    table.add_column("")
    for label, share in answer.probabilities.items():
        style = "bold green" if label in answer.labels else "dim"
        table.add_row(f"[{style}]{label}[/]", f"{share:.4f}", "█" * round(share * 40))
    return table


@app.command()
def inspect(
    bundle: BundleArgument,
    weights: Annotated[
        bool, typer.Option("--weights", help="List every weight and how many bits it got.")
    ] = False,
) -> None:
    """Verify every hash and show what a bundle holds."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    tokenizer = manifest.tokenizer
    out.print(f"{manifest.name}: every file is as the manifest says", style="bold", markup=False)
    facts = {
        "task": _task_line(manifest),
        "model": f"{manifest.source.architecture}, {manifest.source.parameters:,} parameters, from "
        f"{manifest.source.model}",
        "data": f"{manifest.data.name} "
        + ", ".join(f"{n} {split}" for split, n in _in_order(manifest.data.rows)),
        "tokenizer": f"{tokenizer.type}, {tokenizer.vocab_size} tokens, at most "
        f"{tokenizer.max_length} ids, {'uncased' if tokenizer.lowercase else 'cased'}",
        "metrics": ", ".join(f"{k} {v:.4f}" for k, v in manifest.metrics.items()),
    }
    for name, value in facts.items():
        out.print(f"  {name:<10} {value}", markup=False, soft_wrap=True)
    table = Table()
    for column in ("file", "recipe", "size", "weights", "lengths", "needs at least", "gate"):
        table.add_column(column)
    for a in manifest.artifacts:
        table.add_row(
            a.path,
            a.recipe,
            megabytes(a.bytes),
            ", ".join(f"{n:,} {precision}" for precision, n in a.weights.elements.items()),
            ", ".join(map(str, a.lengths)) if a.lengths else "any",
            ", ".join(f"{k} {v}" for k, v in a.minimum_runtime.items()),
            a.gate.upper(),
        )
    out.print(table)
    for a in manifest.artifacts:
        if weights:
            out.print(weights_table(a))
        elif a.weights.stored:
            out.print(f"  {a.path}: {weights_line(a)}", markup=False, soft_wrap=True)


def _task_line(manifest: Manifest) -> str:
    task = manifest.task
    if task.gives_vectors:
        dim = manifest.artifacts[0].outputs[0].shape[-1]
        length = "length 1" if task.activation == "l2" else "any length"
        return f"sentence vectors of {dim} numbers, {task.pooling} pooling, {length}"
    return f"{task.kind}, {task.activation}, {len(task.labels)} labels: " + ", ".join(task.labels)


def _in_order(rows: dict[str, int]) -> list[tuple[str, int]]:
    order = ("train", "validation", "test")
    return sorted(rows.items(), key=lambda item: order.index(item[0]) if item[0] in order else 9)


def main() -> None:
    """Entry point of mobile-runtime."""
    run(app)


if __name__ == "__main__":
    main()
