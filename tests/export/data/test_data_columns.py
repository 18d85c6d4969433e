"""What columns are taken to mean, told or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.data import DataSettings, TextDataset, load_dataset
from runtime.errors import UserError

ROWS = [(f"{word} number {i}", word) for i in range(15) for word in ("good", "bad")]


def load(path: Path, **settings: Any) -> TextDataset:
    return load_dataset(DataSettings(source=str(path), **settings))


def write_csv(path: Path) -> None:
    path.write_text("".join(["text,label\n", *(f"{text},{label}\n" for text, label in ROWS)]))


def single(path: Path, header: str, make: Callable[[str, str], str]) -> Path:
    path.write_text("\n".join([header, *(make(t, n) for t, n in ROWS)]))
    return path


@pytest.mark.parametrize("header", ["sentence,label", "Text,Label", "CONTENT,category", "q,label"])
def test_text_and_label_by_usual_names_or_as_the_only_wordy_column(
    tmp_path: Path, header: str
) -> None:
    found = load(single(tmp_path / "a.csv", header, lambda t, n: f"{t},{n}"))
    assert found.labels == ("bad", "good")
    text, _, label = header.partition(",")
    assert found.notes[0].startswith(f"Text is in {text}, labels in {label}: ")


def test_named_columns_win(tmp_path: Path) -> None:
    path = single(tmp_path / "a.csv", "text,label,mood,say", lambda t, n: f"x,y,{n},{t}")
    found = load(path, text_column="say", label_columns=("mood",))
    assert found.labels == ("bad", "good")
    assert found.splits["train"][0].text.split()[0] in {"good", "bad"}


@pytest.mark.parametrize("named", [{"text_column": "body"}, {"label_columns": ("label", "body")}])
def test_a_named_column_that_is_not_there(tmp_path: Path, named: dict[str, Any]) -> None:
    write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a\.csv has no column 'body'.*its columns: text, label"):
        load(tmp_path / "a.csv", **named)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("first,second,label", "several columns could be the text.*first, second, label"),
        ("text,something", "no column is plainly the label"),
        ("text,label,labels", "several columns could be the label"),
    ],
)
def test_columns_that_are_not_plain(tmp_path: Path, header: str, message: str) -> None:
    width = header.count(",") + 1
    path = single(tmp_path / "a.csv", header, lambda t, n: ",".join([t, n, n][:width]))
    with pytest.raises(UserError, match=message):
        load(path)


def test_a_column_missing_from_another_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("id,text\n1,hello\n")
    with pytest.raises(UserError, match=r"test\.csv has no column label.*id, text"):
        load(tmp_path)


def test_indicator_columns_in_file_order(tmp_path: Path) -> None:
    rows = [f'{i},"text {i}",{int(i % 2 == 0)},{int(i % 3 == 0)},0' for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["id,comment,toxic,insult,axe", *rows]))
    found = load(tmp_path / "a.csv")
    assert found.kind == "multi_label"
    assert found.is_multi_label
    assert found.labels == ("toxic", "insult", "axe")
    labels = {row.text: row.labels for rows in found.splits.values() for row in rows}
    assert labels["text 0"] == (0, 1)
    assert labels["text 1"] == ()
    assert labels["text 3"] == (1,)
    assert "No train row for 1 of 3 labels: axe." in found.notes


def test_one_hot_columns_when_the_task_is_single_label(tmp_path: Path) -> None:
    rows = [f"text {i},{i % 2},{(i + 1) % 2}" for i in range(30)]
    rows += ["both,1,1", "none,0,0", "odd,2,0", "not labelled,-1,-1"]
    (tmp_path / "a.csv").write_text("\n".join(["text,a,b", *rows]))
    found = load(tmp_path / "a.csv", kind="single_label")
    assert [(p.kind, p.where) for p in found.problems] == [
        ("several_labels", "a.csv:32"),
        ("no_label", "a.csv:33"),
        ("unknown_label", "a.csv:34"),
        ("no_label", "a.csv:35"),
    ]


def test_one_column_of_0_and_1_is_a_class(tmp_path: Path) -> None:
    path = single(tmp_path / "a.csv", "text,toxic", lambda t, n: f"{t},{int(n == 'bad')}")
    found = load(path)
    assert (found.kind, found.labels) == ("single_label", ("0", "1"))


def test_settings_that_have_no_meaning_here(tmp_path: Path) -> None:
    rows = [f"text {i},{i % 2},{(i + 1) % 2}" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,a,b", *rows]))
    with pytest.raises(UserError, match="label separator has no meaning"):
        load(tmp_path / "a.csv", label_separator="|")
    with pytest.raises(UserError, match="revision has no meaning"):
        load(tmp_path / "a.csv", revision="main")
    with pytest.raises(UserError, match="named twice"):
        load(tmp_path / "a.csv", label_columns=("a", "a"))
    with pytest.raises(UserError, match="as the text and as a label"):
        load(tmp_path / "a.csv", text_column="a", label_columns=("a", "b"))


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    header = ",".join(f"column_{i}" for i in range(300))
    (tmp_path / "a.csv").write_text(f"{header}\n{header}\n")
    with pytest.raises(UserError, match="column_19, and 280 more") as caught:
        load(tmp_path / "a.csv")
    assert "column_20" not in str(caught.value)


def multi(tmp_path: Path, separator: str) -> Path:
    sets = [["joy"], ["anger"], ["joy", "love"], [], ["love"], ["anger", "joy"]]
    rows = [f'text {i},"{separator.join(sets[i % 6])}"' for i in range(60)]
    (tmp_path / "m.csv").write_text("\n".join(["text,labels", *rows]))
    return tmp_path / "m.csv"


@pytest.mark.parametrize("separator", ["|", ";", ",", " ", ", ", " | "])
def test_separated_labels_are_detected(tmp_path: Path, separator: str) -> None:
    found = load(multi(tmp_path, separator))
    assert found.kind == "multi_label"
    assert found.labels == ("anger", "joy", "love")
    labels = {row.text: row.labels for rows in found.splits.values() for row in rows}
    assert labels["text 2"] == (1, 2)
    assert labels["text 3"] == ()
    assert labels["text 5"] == (0, 1)


def test_an_explicit_separator_wins(tmp_path: Path) -> None:
    found = load(multi(tmp_path, " / "), label_separator="/")
    assert found.labels == ("anger", "joy", "love")
    with pytest.raises(UserError, match="separator is empty"):
        load(tmp_path / "m.csv", label_separator="")


@pytest.mark.parametrize(
    "names",
    [
        ("business", "science tech", "health"),
        ("Food, drinks", "Cars, bikes"),
        ("very good", "good", "bad", "very bad"),
        ("a", "b"),
    ],
)
def test_a_single_label_file_whose_column_is_called_labels(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    rows = [f'text {i},"{names[i % len(names)]}"' for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text,labels", *rows]))
    found = load(tmp_path / "a.csv")
    assert found.kind == "single_label"
    assert found.labels == tuple(sorted(names))
    assert any("each cell is one label, single-label" in note for note in found.notes)


def test_kind_can_be_forced(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    found = load(tmp_path / "a.csv", kind="multi_label")
    assert found.kind == "multi_label"
    assert found.labels == ("bad", "good")
    found = load(multi(tmp_path, "|"), kind="single_label")
    assert found.kind == "single_label"
    assert "joy|love" in found.labels
    assert found.problem_counts() == {"no_label": 10}


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_lists_in_cells(tmp_path: Path, written: Callable[[list[str]], str]) -> None:
    sets = [["joy"], ["love", "joy", "love"], []]
    lines = [json.dumps({"text": f"text {i}", "labels": sets[i % 3]}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": "none", "labels": null}']))
    found = load(tmp_path / "a.jsonl")
    assert (found.kind, found.labels) == ("multi_label", ("joy", "love"))
    labels = {row.text: row.labels for rows in found.splits.values() for row in rows}
    assert [labels[f"text {i}"] for i in range(3)] == [(0,), (0, 1), ()]
    assert [(p.kind, p.where) for p in found.problems] == [("no_label", "a.jsonl:31")]
    cells = [written(sets[i % 3]).replace('"', '""') for i in range(30)]
    rows = [f'text {i},"{cell}"' for i, cell in enumerate(cells)]
    (tmp_path / "a.csv").write_text("\n".join(["text,labels", *rows]))
    assert load(tmp_path / "a.csv").sha256() == found.sha256()


def test_vectors_of_0_and_1_are_not_taken_for_indices(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"t {i}", "labels": [0, i % 2, 1]}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match="vectors of 0 and 1"):
        load(tmp_path / "a.jsonl")


def test_integers_are_names_in_numeric_order(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"t {i}", "label": i % 11}) for i in range(110)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = load(tmp_path / "a.jsonl")
    assert found.labels == tuple(str(i) for i in range(11))
    rows = [f"t {i},{i % 11}" for i in range(110)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    assert load(tmp_path / "a.csv").sha256() == found.sha256()


def test_explicit_labels_give_order_and_may_have_no_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    found = load(tmp_path / "a.csv", labels=("good", "so-so", "bad"))
    assert found.labels == ("good", "so-so", "bad")
    assert "No train row for 1 of 3 labels: so-so." in found.notes
    assert {row.labels for row in found.splits["train"]} == {(0,), (2,)}


@pytest.mark.parametrize("labels", [("a", "a"), ("a", ""), ("a", "b\nc"), ("a", " b")])
def test_explicit_labels_must_be_names(tmp_path: Path, labels: tuple[str, ...]) -> None:
    write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"listed twice|cannot be the name"):
        load(tmp_path / "a.csv", labels=labels)
