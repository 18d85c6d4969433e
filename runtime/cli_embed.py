"""embed: sentence vectors of texts with one artifact of a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from runtime.bundle import open_bundle
from runtime.cli_support import lines_of
from runtime.console import note, out
from runtime.embed import Embedding, TextEmbedder
from runtime.errors import UserError
from runtime.manifest import ArtifactSpec, Manifest
from runtime.sessions.base import SessionSettings
from runtime.vector_file import check_vector_file, write_vectors

_FIRST = 4
_LONGEST_TEXT = 48


def embed_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, exported as embedding.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Without one, lines come from --file or stdin."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A UTF-8 file with a text on every line.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Write the vectors here: .npz or .parquet.")
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(help="File name, format or recipe; the smallest artifact by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per text.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
) -> None:
    """Sentence vectors of texts; beside each other, also which of them are nearest."""
    if texts and file is not None:
        raise UserError("both texts and --file were given", todo="give one of them")
    if output is not None:
        check_vector_file(output)
    if not texts and file is None and sys.stdin.isatty():
        raise UserError("there is no text", todo='give one: … embed BUNDLE "text", or --file')
    opened = open_bundle(bundle)
    chosen = opened.artifact(artifact)
    settings = SessionSettings.of(opened.manifest.tokenizer, threads=threads)
    embedder = TextEmbedder(opened, chosen, settings)
    found = embedder.embed_all(texts if texts else lines_of(file))
    if as_json and output is None:
        _print_json(found)
        return
    vectors = list(found)
    if not vectors:
        raise UserError(f"there is no text in {file or 'standard input'}")
    if output is not None:
        _write(output, vectors, opened.manifest, chosen)
    else:
        out.print(_table(vectors, chosen.path))


def _print_json(found: Iterator[Embedding]) -> None:
    for one in found:
        value = {
            "text": one.text,
            "vector": [float(str(number)) for number in one.vector],
            "truncated": one.truncated,
        }
        sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")


def _write(
    path: Path, found: Sequence[Embedding], manifest: Manifest, artifact: ArtifactSpec
) -> None:
    about = {
        "bundle": manifest.name,
        "artifact": artifact.path,
        "artifact_sha256": artifact.sha256,
        "pooling": manifest.task.pooling,
        "normalized": manifest.task.activation == "l2",
        "max_length": manifest.tokenizer.max_length,
    }
    matrix = np.stack([one.vector for one in found])
    write_vectors(path, matrix, [one.text for one in found], about)
    if cut := sum(one.truncated for one in found):
        note(f"  {cut} of {len(found)} texts were cut to {manifest.tokenizer.max_length} ids")
    out.print(f"wrote {path}: {len(found)} vectors of {matrix.shape[1]} numbers", markup=False)


def _table(found: Sequence[Embedding], path: str) -> Table:
    """One row per text: its vector's beginning and length, and its nearest neighbour here."""
    matrix = np.stack([one.vector for one in found]).astype(np.float64)
    norms = np.linalg.norm(matrix, axis=1)
    table = Table(caption=f"{path} · {matrix.shape[1]} numbers each", caption_justify="left")
    table.add_column("#", justify="right")
    table.add_column("text")
    table.add_column("vector")
    table.add_column("length", justify="right")
    several = len(found) > 1
    if several:
        table.add_column("nearest", justify="right")
        table.add_column("cosine", justify="right")
        unit = matrix / np.where(norms == 0, 1.0, norms)[:, None]
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -np.inf)
    for row, one in enumerate(found):
        cells = [
            str(row + 1),
            _short(one.text) + (" (cut)" if one.truncated else ""),
            " ".join(f"{value:+.4f}" for value in matrix[row, :_FIRST]) + " …",
            f"{norms[row]:.4f}",
        ]
        if several:
            nearest = int(cosines[row].argmax())
            cells += [str(nearest + 1), f"{cosines[row, nearest]:.4f}"]
        table.add_row(*cells)
    return table


def _short(text: str) -> str:
    from rich.markup import escape

    line = " ".join(text.split())
    return escape(line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…")
