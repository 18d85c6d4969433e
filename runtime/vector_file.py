"""Sentence vectors in a file: npz or parquet, one row per text, without the texts themselves.

============  ===========================  ========================================================
``vectors``   float32 [texts, dim]         in parquet the column ``vector``, a list of fixed size
``row``       int64 [texts]                place of the text in its file or split, from 0
``split``     text [texts]                 train, validation or test; empty for a list of texts
``sha256``    text [texts]                 hex SHA-256 of the text in UTF-8, to match it again
``about``     text                         JSON: what made the vectors; in parquet the metadata key
                                           ``about``
============  ===========================  ========================================================

Nothing in the file is a pickle: read it with ``numpy.load(path, allow_pickle=False)``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import MissingExtraError, UserError
from runtime.files import canonical_json, write_atomically

SUFFIXES = (".npz", ".parquet")


def check_vector_file(path: Path) -> None:
    """Refuse a name early, before any work is done.

    Raises:
        MissingExtraError: parquet without pyarrow.
        UserError: another suffix, or a folder of that name.
    """
    if path.suffix not in SUFFIXES or path.is_dir():
        raise UserError(
            f"vectors cannot be written to {path}",
            why="it is a folder"
            if path.is_dir()
            else f"its name must end in {SUFFIXES[0]} or .parquet",
        )
    if path.suffix == ".parquet":
        _pyarrow(path)


def write_vectors(
    path: Path,
    vectors: npt.NDArray[np.float32],
    texts: Sequence[str],
    about: Mapping[str, Any],
    *,
    rows: Sequence[int] | None = None,
    splits: Sequence[str] | None = None,
) -> None:
    """Write a file as the module's table has it, atomically; the same input gives the same bytes.

    Args:
        path: ends in .npz or .parquet.
        vectors: float32 [texts, dim].
        texts: as many; only their hashes are written.
        about: JSON values.
        rows: place of each text; None counts from 0.
        splits: of each text; None leaves it empty.

    Raises:
        MissingExtraError: parquet without pyarrow.
        UserError: the file's name or place will not do.
    """
    check_vector_file(path)
    columns = {
        "row": np.arange(len(texts)) if rows is None else np.asarray(rows, dtype=np.int64),
        "split": np.array(splits if splits is not None else [""] * len(texts), dtype=np.str_),
        "sha256": np.array([text_sha256(text) for text in texts], dtype=np.str_),
    }
    note = canonical_json(dict(about), indent=None).strip()
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, vectors=vectors, about=np.array(note), **columns)  # type: ignore[arg-type]
    else:
        pyarrow = _pyarrow(path)
        flat = pyarrow.array(vectors.reshape(-1))
        cells = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        arrays = {name: pyarrow.array(values.tolist()) for name, values in columns.items()}
        table = pyarrow.table({"vector": cells, **arrays})
        pyarrow.parquet.write_table(table.replace_schema_metadata({"about": note}), buffer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written", why=str(error.strerror)) from error


def text_sha256(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8; half surrogate pairs are kept as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow", extra="parquet", purpose=f"writing {path.name}"
        ) from error
    return pyarrow
