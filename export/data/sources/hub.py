"""Data sets from the Hugging Face hub, through the `datasets` package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from export.data.tables import RawSource, Row, Table, listed, split_called
from runtime.errors import MissingExtraError, UserError

PREFIX = "hub:"

_NAME = re.compile(r"(?P<path>[\w.-]+/[\w.-]+)(:(?P<config>[\w.+-]+))?")
_BATCH = 1000
_TEXT_OR_LABEL = re.compile(r"(large_)?string|u?int\d+|bool|float\d+")


def read(name: str, revision: str | None = None) -> RawSource:
    """Download (or take from the local cache) one data set. Its code, if it has any, never runs.

    Args:
        name: ``ORG/NAME`` or ``ORG/NAME:CONFIG``.
        revision: commit, tag or branch; None means the newest.

    Raises:
        UserError: not such a name, no network, no such data set, no training split.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{PREFIX}{name} does not name a data set of the hub",
            todo="write hub:ORG/NAME or hub:ORG/NAME:CONFIG, such as hub:stanfordnlp/imdb",
        )
    # `datasets` would quietly prefer a folder of that name.
    if Path(match["path"]).exists():
        raise UserError(
            f"{match['path']} is a folder here",
            todo=f"leave out {PREFIX} to read it, or go to another folder to read the hub's",
        )
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "datasets", extra="hub", purpose="reading a data set from the hub"
        ) from error
    try:
        loaded = datasets.load_dataset(match["path"], match["config"], revision=revision)
    # Whatever the network, the hub or its client think of: the user gets one line.
    except Exception as error:
        raise _explained(name, error) from error
    return source_of(loaded, name)


def source_of(loaded: Any, name: str) -> RawSource:
    """The source in a ``datasets.DatasetDict``; `Row.where` is ``SPLIT:NUMBER``, from 1.

    Raises:
        UserError: no training split, or two splits of one kind.
    """
    splits: dict[str, Table] = {}
    strangers = []
    for split, rows in loaded.items():
        ours = split_called(split)
        if ours is None:
            strangers.append(split)
        elif ours in splits:
            raise UserError(f"{name} has two splits for {ours}", why=listed(list(loaded)))
        else:
            splits[ours] = _table(rows, split)
    if "train" not in splits:
        raise UserError(f"{name} has no training split", why=f"splits: {listed(list(loaded))}")
    notes = [f"Splits left aside: {listed(strangers)}."] if strangers else []
    return RawSource(name=name, splits=splits, notes=tuple(notes))


def _table(rows: Any, split: str) -> Table:
    features = rows.features
    columns = [name for name, feature in features.items() if _may_matter(feature)]
    found: list[Row] = []
    # Pictures and sound are never selected, so never decoded.
    for batch in rows.select_columns(columns).iter(batch_size=_BATCH):
        cells = zip(*(batch[name] for name in columns), strict=True)
        found.extend(
            Row(f"{split}:{number}", values) for number, values in enumerate(cells, len(found) + 1)
        )
    names = {column: _class_names(features[column]) for column in columns}
    return Table(
        name=split,
        columns=tuple(columns),
        rows=tuple(found),
        class_names={column: known for column, known in names.items() if known},
    )


def _inner(feature: Any) -> Any:
    """What a list feature is a list of; any other feature itself."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", feature)


def _may_matter(feature: Any) -> bool:
    inner = _inner(feature)
    if _class_names(inner):
        return True
    kind = getattr(inner, "dtype", None)
    if not isinstance(kind, str) or not _TEXT_OR_LABEL.fullmatch(kind):
        return False
    return inner is feature or not kind.startswith("float")


def _class_names(feature: Any) -> tuple[str, ...]:
    return tuple(getattr(_inner(feature), "names", None) or ())


def _explained(name: str, error: Exception) -> UserError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    why = " ".join(str(error).split())[:300] or type(error).__name__
    if "DatasetNotFoundError" in kinds:
        return UserError(
            f"the hub has no data set {name} that you may read",
            why=why,
            todo="check the name and the revision; for a gated one, log in with: hf auth login",
        )
    if kinds & {"ConnectionError", "TransportError", "TimeoutError", "OfflineModeIsEnabled"}:
        return UserError(
            f"the hub cannot be reached for {name}",
            why=why,
            todo="check the network, or give a local file or sample:sentiment as the source",
        )
    return UserError(f"{name} cannot be loaded from the hub", why=why)
