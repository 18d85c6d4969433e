"""Local files: every format and every way of naming splits."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.data import DataSettings, TextDataset, load_dataset
from runtime.errors import MissingExtraError, UserError

ROWS = [(f"{word} number {i}", word) for i in range(15) for word in ("good", "bad")]


def load(path: Path, **settings: Any) -> TextDataset:
    return load_dataset(DataSettings(source=str(path), **settings))


def csv_of(rows: list[tuple[str, str]], header: str = "text,label") -> str:
    return "\n".join([header, *(f'"{text}",{label}' for text, label in rows)]) + "\n"


def write_csv(path: Path) -> None:
    path.write_text(csv_of(ROWS))


def write_tsv(path: Path) -> None:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in ROWS))


def write_parquet(path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"text": list(texts), "label": list(labels)}), path)


WRITERS = {
    "csv": write_csv,
    "tsv": write_tsv,
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("ending", WRITERS)
def test_one_file_of_any_format_gives_the_same_data(tmp_path: Path, ending: str) -> None:
    WRITERS[ending](tmp_path / f"rows.{ending}")
    write_csv(tmp_path / "same.csv")
    found = load(tmp_path / f"rows.{ending}")
    assert found.kind == "single_label"
    assert found.labels == ("bad", "good")
    assert {split: len(rows) for split, rows in found.splits.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    assert found.problems == ()
    assert found.sha256() == load(tmp_path / "same.csv").sha256()
    assert found.name == f"rows.{ending}"
    texts = {row.text: row.labels for rows in found.splits.values() for row in rows}
    assert texts == {text: (int(label == "good"),) for text, label in ROWS}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train.csv", "validation.csv", "test.csv"),
        ("Train.CSV", "dev.tsv", "TEST.jsonl"),
        ("training.jsonl", "val.csv", "eval.parquet"),
        ("train-00000-of-00001.parquet", "valid.csv", "test.csv"),
    ],
)
def test_a_folder_with_usual_names(tmp_path: Path, train: str, validation: str, test: str) -> None:
    for number, name in enumerate((train, validation, test)):
        rows = [(f"{number} {text}", label) for text, label in ROWS[: 20 - 5 * number]]
        ending = name.rpartition(".")[2].lower()
        if ending == "parquet":
            texts, labels = zip(*rows, strict=True)
            pq.write_table(pa.table({"text": list(texts), "label": list(labels)}), tmp_path / name)
        elif ending == "jsonl":
            lines = [json.dumps({"text": t, "label": n}) for t, n in rows]
            (tmp_path / name).write_text("\n".join(lines))
        else:
            mark = "\t" if ending == "tsv" else ","
            (tmp_path / name).write_text(
                "\n".join([f"text{mark}label", *(f"{t}{mark}{n}" for t, n in rows)])
            )
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "labels.csv").write_text("id,name\n")
    found = load(tmp_path)
    assert [len(found.splits[s]) for s in ("train", "validation", "test")] == [20, 15, 10]
    assert all(row.text.startswith("2 ") for row in found.splits["test"])
    assert found.splits["train"][0].text == "0 good number 0"
    assert any("labels.csv" in note for note in found.notes)
    assert not any("README" in note for note in found.notes)


def test_shards_are_joined_in_order_and_must_be_complete(tmp_path: Path) -> None:
    for number in (1, 0):
        part = ROWS[number::2]
        pq.write_table(
            pa.table({"text": [t for t, _ in part], "label": [n for _, n in part]}),
            tmp_path / f"train-0000{number}-of-00002.parquet",
        )
    found = load(tmp_path)
    assert sum(map(len, found.splits.values())) == 30
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="do not go together"):
        load(tmp_path)


def test_two_files_for_one_split_are_an_error(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "valid.csv"):
        write_csv(tmp_path / name)
    with pytest.raises(UserError, match=r"validation.*dev\.csv, valid\.csv"):
        load(tmp_path)


def test_a_folder_without_training_rows_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no training rows.*no file there ends in \.csv"):
        load(tmp_path)
    write_csv(tmp_path / "reviews.csv")
    with pytest.raises(UserError, match=r"no training rows.*reviews\.csv"):
        load(tmp_path)


def test_a_split_column(tmp_path: Path) -> None:
    names = ["train"] * 20 + ["dev"] * 4 + ["Test"] * 4 + ["unused", ""]
    lines = [f"{t},{n},{s}" for (t, n), s in zip(ROWS, names, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,split", *lines]))
    found = load(tmp_path / "rows.csv")
    assert {s: len(r) for s, r in found.splits.items()} == {"train": 20, "validation": 4, "test": 4}
    assert found.problem_counts() == {"unknown_split": 2}
    assert found.problems[0].where == "rows.csv:30"


def test_a_split_column_about_something_else_is_ignored(tmp_path: Path) -> None:
    lines = [f"{t},{n},banana" for t, n in ROWS]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,split", *lines]))
    assert len(load(tmp_path / "rows.csv").splits["train"]) == 24


@pytest.mark.parametrize(
    ("present", "sizes"),
    [
        (("train",), {"train": 24, "validation": 3, "test": 3}),
        (("train", "validation"), {"train": 27, "validation": 30, "test": 3}),
        (("train", "test"), {"train": 27, "validation": 3, "test": 30}),
    ],
)
def test_missing_splits_are_made_and_said(
    tmp_path: Path, present: tuple[str, ...], sizes: dict[str, int]
) -> None:
    for split in present:
        rows = [(f"{split} {text}", label) for text, label in ROWS]
        (tmp_path / f"{split}.csv").write_text(csv_of(rows))
    found = load(tmp_path)
    assert {split: len(rows) for split, rows in found.splits.items()} == sizes
    (note,) = [note for note in found.notes if "10% of the training rows" in note]
    for split in ("validation", "test"):
        assert (split in note.lower()) == (split not in present)


# --- parquet


def test_parquet_skips_other_types_and_reads_class_names(tmp_path: Path) -> None:
    features = {
        "info": {
            "features": {
                "text": {"dtype": "string", "_type": "Value"},
                "label": {"names": ["pos", "neg", "never"], "_type": "ClassLabel"},
            }
        }
    }
    table = pa.table(
        {
            "picture": [b"\xff"] * 31,
            "vector": [[0.5]] * 31,
            "text": pa.array([f"t {i}" for i in range(31)]).dictionary_encode(),
            "label": [i % 2 for i in range(30)] + [-1],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = load(tmp_path / "a.parquet")
    assert found.labels == ("pos", "neg", "never")
    assert any("picture, vector" in note for note in found.notes)
    assert [(p.kind, p.where) for p in found.problems] == [("no_label", "a.parquet:31")]


def test_parquet_lists(tmp_path: Path) -> None:
    labels = [["x"], ["x", "y"], [], None] * 10
    table = pa.table({"text": [f"t {i}" for i in range(40)], "labels": labels})
    pq.write_table(table, tmp_path / "a.parquet")
    found = load(tmp_path / "a.parquet")
    assert (found.kind, found.labels) == ("multi_label", ("x", "y"))
    assert found.problem_counts() == {"no_label": 10}


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for broken in (b"PAR1", data[: len(data) // 2], data[:40] + bytes(60) + data[100:]):
        (tmp_path / "a.parquet").write_bytes(broken)
        with pytest.raises(UserError, match=r"a\.parquet cannot be read"):
            load(tmp_path / "a.parquet")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*mobile-export\[parquet\]"):
        load(tmp_path / "a.parquet")


# --- loading writes nothing


def test_loading_leaves_no_trace(tmp_path: Path) -> None:

    write_csv(tmp_path / "train.csv")
    write_parquet(tmp_path / "dev.parquet")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path, *tmp_path.iterdir())}
    csv.field_size_limit(limit := 131_072)
    with pytest.raises(UserError, match="no row is left in validation"):
        load(tmp_path)
    load(tmp_path / "train.csv")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path, *tmp_path.iterdir())} == before
    assert csv.field_size_limit() == limit
