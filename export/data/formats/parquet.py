"""Parquet files, read in batches and without the columns that cannot be text or labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.data.tables import Row, Table
from runtime.errors import MissingExtraError, UserError

FORMAT = "parquet"
SUFFIXES = (".parquet",)

_BATCH = 4096


def read(path: Path) -> Table:
    """Read a file; `Row.where` carries the number of the row, from 1.

    Integers that a ``datasets`` feature in the file's metadata names become `Table.class_names`.

    Raises:
        MissingExtraError: no pyarrow.
        UserError: not a parquet file, or a damaged one.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow", extra="parquet", purpose=f"reading {path.name}"
        ) from error

    rows: list[Row] = []
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = [field.name for field in schema if _may_matter(field.type, pyarrow.types)]
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                cells = [batch.column(name).to_pylist() for name in columns]
                rows.extend(
                    Row(f"{path.name}:{number}", values)
                    for number, values in enumerate(zip(*cells, strict=True), len(rows) + 1)
                )
            left = [name for name in schema.names if name not in columns]
            metadata = schema.metadata or {}
    # ArrowInvalid and UnicodeDecodeError are ValueErrors; ArrowKeyError: one name for two columns.
    except (pyarrow.ArrowException, ValueError, KeyError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path.name} cannot be read as parquet", why=why) from error
    return Table(
        name=path.name,
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(f"{path.name}: columns of other types left aside: {', '.join(left)}.",)
        if left
        else (),
        class_names=_class_names(metadata.get(b"huggingface")),
    )


def _may_matter(kind: Any, types: Any) -> bool:
    """Whether a column of this type can be text, a label or a list of labels."""
    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        inner = kind.value_type
        return not types.is_floating(inner) and _may_matter(inner, types)
    tests = ("is_string", "is_large_string", "is_string_view", "is_integer", "is_boolean")
    return types.is_floating(kind) or any(getattr(types, test)(kind) for test in tests)


def _class_names(metadata: bytes | None) -> dict[str, tuple[str, ...]]:
    """Column → class names out of the JSON that the ``datasets`` package leaves in its files."""
    try:
        features = json.loads(metadata or b"{}")["info"]["features"]
        found = {}
        for column, feature in features.items():
            if isinstance(feature, list):
                (inner,) = feature
            else:
                inner = feature.get("feature", feature)
            if inner.get("_type") == "ClassLabel":
                found[column] = tuple(str(name) for name in inner["names"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # Metadata of another make says nothing about classes.
        return {}
    return found
