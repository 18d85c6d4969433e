"""Text classification data, single-label and multi-label: `load_dataset` reads, it never writes."""

from __future__ import annotations

import os
from pathlib import Path

from export.data.assemble import assemble
from export.data.settings import DataSettings
from export.data.sources import embedded, hub, local
from export.data.tables import RawSource
from export.data.task import Example, Kind, RowProblem, TextDataset
from runtime.errors import UserError

__all__ = [
    "DataSettings",
    "Example",
    "Kind",
    "RowProblem",
    "TextDataset",
    "load_dataset",
]


def load_dataset(settings: DataSettings) -> TextDataset:
    """Read, understand, check and split a data set.

    Returns:
        Train, validation and test rows, none of them empty, and every row that was found broken.
        The same rows, settings and seed give the same splits in any order of the rows.

    Raises:
        UserError: there is no such source, or what is there is no usable data set.
        MissingExtraError: a format or the hub needs a package that is not installed.
    """
    return assemble(_source(settings), settings)


def _source(settings: DataSettings) -> RawSource:
    name = settings.source
    if settings.revision is not None and not name.startswith(hub.PREFIX):
        raise UserError(f"a revision has no meaning for {name}", why="only the hub has revisions")
    if name.startswith(embedded.PREFIX):
        return embedded.read(name.removeprefix(embedded.PREFIX))
    if name.startswith(hub.PREFIX):
        return hub.read(name.removeprefix(hub.PREFIX), settings.revision)
    if not _is_there(name):
        raise UserError(
            f"there is no data source {name!r}",
            why="it is neither a file nor a folder here, nor does it start with sample: or hub:",
            todo="try sample:sentiment, a folder with train.csv, a file such as rows.csv, "
            "or hub:stanfordnlp/imdb",
        )
    return local.read(Path(name), settings)


def _is_there(name: str) -> bool:
    """Whether anything bears that name; a broken link or a closed folder does, and says more."""
    try:
        os.lstat(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True
