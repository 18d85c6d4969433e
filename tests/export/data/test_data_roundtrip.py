"""Whatever a text holds, it comes back as it went in."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from export.data import DataSettings, load_dataset
from export.data.duplicates import text_key

# No NUL and no surrogates: those are reported, see test_data_faults.py.
_TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(str.strip)
_TEXTS = st.lists(_TEXT, min_size=24, max_size=40, unique_by=text_key)


def _texts_in(path: Path) -> list[str]:
    found = load_dataset(DataSettings(source=str(path)))
    assert found.problems == ()
    for rows in found.splits.values():
        assert all(row.labels == (len(row.text) % 2,) for row in rows)
    return sorted(row.text for rows in found.splits.values() for row in rows)


def _rows(texts: list[str]) -> list[dict[str, str]]:
    # Two classes, whatever was drawn.
    texts = sorted({*texts, "odd", "even"})
    return [{"text": text, "label": ("even", "odd")[len(text) % 2]} for text in texts]


@settings(max_examples=60, deadline=None)
@given(_TEXTS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([("csv", ","), ("tsv", "\t")]))
def test_delimited(texts: list[str], end: str, form: tuple[str, str]) -> None:
    ending, delimiter = form
    rows = [row for row in _rows(texts) if text_key(row["text"]) not in {"", "odd", "even"}]
    rows += [{"text": "odd", "label": "odd"}, {"text": "even", "label": "even"}]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{ending}"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(
                stream,
                ["text", "label"],
                delimiter=delimiter,
                lineterminator=end,
                quoting=csv.QUOTE_ALL,
            )
            writer.writeheader()
            writer.writerows(rows)
        assert _texts_in(path) == sorted(row["text"] for row in rows)


@settings(max_examples=60, deadline=None)
@given(_TEXTS, st.booleans())
def test_json_lines(texts: list[str], escaped: bool) -> None:
    rows = [row for row in _rows(texts) if text_key(row["text"]) not in {"", "odd", "even"}]
    rows += [{"text": "odd", "label": "odd"}, {"text": "even", "label": "even"}]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes("\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows).encode())
        assert _texts_in(path) == sorted(row["text"] for row in rows)
