"""embed: sentence vectors of a whole file, by a checkpoint's encoder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export import cli_options as options
from export.settings import DEFAULT_MAX_LENGTH
from runtime.console import megabytes, note, out, progress_bar, stage
from runtime.errors import UserError
from runtime.vector_file import check_vector_file, write_vectors

if TYPE_CHECKING:
    from export.checkpoint import Checkpoint
    from export.pooling import EmbeddingSettings


class PoolingName(StrEnum):
    """How hidden states become one vector."""

    MEAN = "mean"
    CLS = "cls"


class Product(StrEnum):
    """What the artifacts of an export give."""

    CLASSIFIER = "classifier"
    EMBEDDING = "embedding"


_VECTORS = "Sentence vectors"
PoolingOption = Annotated[
    PoolingName,
    typer.Option(
        help="mean of all tokens, or cls: the position that a classifier reads.",
        rich_help_panel=_VECTORS,
    ),
]
NormalizeOption = Annotated[
    bool,
    typer.Option(
        "--normalize/--raw", help="Vectors of length 1, or as they come.", rich_help_panel=_VECTORS
    ),
]


def embed(
    model: Annotated[
        str, typer.Option(help="A checkpoint's folder, or a name on the hub; a head is not needed.")
    ],
    output: Annotated[Path, typer.Option("--out", help="The file to write: .npz or .parquet.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled texts, as finetune takes them; every split is embedded.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts without labels, UTF-8, one a line.", rich_help_panel=options.DATA),
    ] = None,
    text_column: options.TextColumn = None,
    label_columns: options.LabelColumns = "",
    revision: options.Revision = None,
    pooling: PoolingOption = PoolingName.MEAN,
    normalize: NormalizeOption = True,
    max_length: options.MaxLength = DEFAULT_MAX_LENGTH,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder to keep vectors in: a run that is cut short is taken up again."),
    ] = None,
) -> None:
    """Write a sentence vector for every text, in the order of the file.

    The file holds the vectors, each text's place, split and SHA-256, and what made them; not the
    texts. runtime/vector_file.py documents it.
    """
    if (data is None) == (texts is None):
        raise UserError("name the texts by one of --data and --texts")
    check_vector_file(output)
    from export.checkpoint import find_checkpoint
    from export.pooling import EmbeddingSettings

    rows = _lines(texts) if texts else _rows(str(data), text_column, label_columns)
    checkpoint = find_checkpoint(model, revision)
    settings = EmbeddingSettings(pooling.value, normalize, max_length)
    _embed(checkpoint, rows, settings, output, cache)


def _lines(path: Path) -> list[tuple[str, int, str]]:
    """(split, place, text) of every line, blank and repeated ones included: places must match."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", why=str(error), todo="save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read", why=str(error.strerror)) from error
    lines = content.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"there is no text in {path}", todo="write one text a line, UTF-8")
    return [("", place, line.removesuffix("\r")) for place, line in enumerate(lines)]


def _rows(source: str, text_column: str | None, label_columns: str) -> list[tuple[str, int, str]]:
    from export.data import DataSettings, load_dataset

    columns = options.names(label_columns)
    dataset = load_dataset(
        DataSettings(source=source, text_column=text_column, label_columns=columns)
    )
    return [
        (split, place, example.text)
        for split, examples in dataset.splits.items()
        for place, example in enumerate(examples)
    ]


def _embed(
    checkpoint: Checkpoint,
    rows: list[tuple[str, int, str]],
    settings: EmbeddingSettings,
    output: Path,
    cache: Path | None,
) -> None:
    import dataclasses

    from export.checkpoint import load_tokenizer
    from export.training.embeddings import embed_sequences, sequences_of
    from export.vectors import load_encoder

    model = load_encoder(checkpoint)
    longest = checkpoint.family.longest(model.config)
    if longest is not None and settings.max_length > longest:
        settings = dataclasses.replace(settings, max_length=longest)
    texts = [text for _, _, text in rows]
    sequences, cut = sequences_of(load_tokenizer(checkpoint), texts, settings.max_length)
    if cut:
        note(f"  {cut:,} of {len(texts):,} texts are cut to {settings.max_length} ids")
    with stage(f"{len(texts):,} texts through {checkpoint.name}"), progress_bar("texts") as bar:
        vectors = embed_sequences(model, sequences, settings, cache=cache, progress=bar)
    about = {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "weights_sha256": checkpoint.weights_sha256(),
        "pooling": settings.pooling,
        "normalized": settings.normalize,
        "max_length": settings.max_length,
    }
    splits = [split for split, _, _ in rows]
    places = [place for _, place, _ in rows]
    write_vectors(output, vectors, texts, about, rows=places, splits=splits)
    out.print(
        f"wrote {output}: {len(vectors):,} vectors of {vectors.shape[1]} numbers, "
        f"{megabytes(output.stat().st_size)}",
        markup=False,
        soft_wrap=True,
    )
