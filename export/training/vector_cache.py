"""Vectors of texts on disk: computed once, taken up again where a run was cut short.

An npz file per model and list of texts, without pickles: ``vectors``, float32 [texts, dim], and
``done``, bool [texts]. Rows that are not done are zeros.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.console import note
from runtime.errors import UserError
from runtime.files import canonical_json, write_atomically

Vectors = npt.NDArray[np.float32]
# Ids of texts that are equally long, int64 [texts, length] → float32 [texts, dim].
Compute = Callable[[npt.NDArray[np.int64]], Vectors]
Progress = Callable[[int, int], None]

# At most this many texts, and about this many ids, go through the model at once.
_MOST_TEXTS, _MOST_IDS = 64, 8192
# A run that is killed loses no more than this; one that is interrupted loses nothing.
_SAVE_SECONDS = 30.0
# Raised when what is stored, or how it is computed, changes.
_VERSION = 1


def cache_file(folder: Path, key: Mapping[str, Any]) -> Path:
    """The file for vectors that depend on `key` (JSON values) and on nothing else."""
    text = canonical_json({"version": _VERSION, **key})
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


def cached_vectors(
    path: Path,
    sequences: Sequence[Sequence[int]],
    compute: Compute,
    *,
    progress: Progress | None = None,
) -> Vectors:
    """Vectors of all sequences: those of the file, and for the others what `compute` says.

    Only sequences of one length go through `compute` together, so that nothing is padded. The file
    is brought up to date every half minute and whenever this function is left.

    Args:
        path: from `cache_file`; its folder is made if need be. A damaged file is replaced.
        sequences: ids with special tokens, at least one of them.
        compute: vectors of equally long sequences.
        progress: called with (done, total).

    Returns:
        float32 [sequences, dim].

    Raises:
        UserError: a vector is not finite, or the folder cannot be written.
    """
    vectors, done = _read(path, len(sequences))
    saved, changed = time.monotonic(), False
    try:
        for rows in equally_long(sequences, np.flatnonzero(~done).tolist()):
            found = compute(np.array([sequences[row] for row in rows], dtype=np.int64))
            if not np.isfinite(found).all():
                raise UserError(
                    "the model's output is not finite",
                    why="its weights are broken, or its precision is too low",
                    todo="use another checkpoint",
                )
            if vectors.shape[1] != found.shape[1]:
                vectors = np.zeros((len(sequences), found.shape[1]), dtype=np.float32)
            vectors[rows] = found
            done[rows] = changed = True
            if progress is not None:
                progress(int(done.sum()), len(sequences))
            if time.monotonic() - saved > _SAVE_SECONDS:
                _write(path, vectors, done)
                saved, changed = time.monotonic(), False
    finally:  # an interrupted run's work is kept as well
        if changed:
            _write(path, vectors, done)
    return vectors


def equally_long(
    sequences: Sequence[Sequence[int]], rows: Sequence[int]
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows in batches of one length each, the longest first: if memory is short, at once."""
    sizes = np.array([len(sequences[row]) for row in rows], dtype=np.int64)
    where = np.asarray(rows, dtype=np.int64)
    for size in np.unique(sizes)[::-1]:
        same = where[sizes == size]
        most = max(1, min(_MOST_TEXTS, _MOST_IDS // int(size)))
        for start in range(0, len(same), most):
            yield same[start : start + most]


def _read(path: Path, rows: int) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """What the file holds; nothing where there is none or where it is damaged."""
    nothing = np.zeros((rows, 0), dtype=np.float32), np.zeros(rows, dtype=np.bool_)
    if not path.exists():
        return nothing
    try:
        # Reading an entry checks its CRC-32.
        with np.load(path, allow_pickle=False) as arrays:
            vectors, done = arrays["vectors"], arrays["done"]
        fits = vectors.ndim == 2 and len(vectors) == rows and done.shape == (rows,)
        if not fits or vectors.dtype != np.float32 or done.dtype != np.bool_:
            raise ValueError("its arrays have other shapes or types")
        if not np.isfinite(vectors).all():
            raise ValueError("it holds values that are not finite")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        note(f"  the cached vectors in {path} are damaged and are made again: {why}")
        return nothing
    return vectors, done


def _write(path: Path, vectors: Vectors, done: npt.NDArray[np.bool_]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, vectors=vectors, done=done)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written", why=str(error.strerror)) from error
