"""Every fault that a local file can have: reported with file and line, or one clear error."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

import pytest

from export.data import DataSettings, TextDataset, load_dataset
from runtime.errors import UserError

GOOD = [f"text {i},{'yes' if i % 2 else 'no'}" for i in range(30)]


def load(path: Path, **settings: Any) -> TextDataset:
    return load_dataset(DataSettings(source=str(path), **settings))


def faults(found: TextDataset) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in found.problems]


def rows_of(found: TextDataset) -> int:
    return sum(len(rows) for rows in found.splits.values())


def csv_with(tmp_path: Path, *extra: str, header: str = "text,label", end: str = "\n") -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(end.join([header, *GOOD, *extra]).encode())
    return path


# --- broken rows of a csv file: the extra row is line 32


@pytest.mark.parametrize(
    ("row", "kind", "detail"),
    [
        (",yes", "no_text", "blank"),
        ("   ,yes", "no_text", "blank"),
        ("something,", "no_label", "no label"),
        ("something, ", "no_label", "no label"),
        ("one,two,yes", "unreadable", "3 fields where the header has 2"),
        ("alone", "unreadable", "1 fields where the header has 2"),
        ('"quoted" badly,yes', "unreadable", "expected after"),
        ('"never closed,yes', "unreadable", "never closed"),
        ("a\0b,yes", "unreadable", "NUL"),
        ("x" * 100 + "," * 99, "unreadable", "101|100 fields"),
    ],
)
def test_a_broken_row_is_reported_and_left_out(
    tmp_path: Path, row: str, kind: str, detail: str
) -> None:
    found = load(csv_with(tmp_path, row, "after,no"))
    assert faults(found) == [(kind, "a.csv:32")]
    assert any(part in found.problems[0].detail for part in detail.split("|"))
    assert found.problem_counts() == {kind: 1}
    # The row after the fault is still there.
    assert rows_of(found) == 31
    assert "after" in {row.text for rows in found.splits.values() for row in rows}


def test_lines_are_physical_when_quoted_texts_have_line_breaks(tmp_path: Path) -> None:
    rows = ['"line 2\nline 3\r\nline 4",yes', "", ",no", '"\n\n",no', '"6\n7",', "last,"]
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(["text,label", *rows, *GOOD]).encode())
    found = load(path)
    assert faults(found) == [
        ("no_text", "a.csv:6"),
        ("no_text", "a.csv:7"),
        ("no_label", "a.csv:10"),
        ("no_label", "a.csv:12"),
    ]
    texts = {row.text for rows in found.splits.values() for row in rows}
    assert "line 2\nline 3\r\nline 4" in texts


def test_a_record_of_several_lines_with_too_many_fields_says_where_it_ends(tmp_path: Path) -> None:
    found = load(csv_with(tmp_path, 'x,"a', 'b",c', "after,no"))
    assert faults(found) == [("unreadable", "a.csv:32")]
    assert found.problems[0].detail.endswith("up to line 33")


def test_an_unclosed_quote_does_not_swallow_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", *GOOD[:5], '"open,yes', *GOOD[5:]]))
    found = load(path)
    assert faults(found) == [("unreadable", "a.csv:7")]
    assert rows_of(found) == 30


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, end: str) -> None:
    path = csv_with(tmp_path, ",yes", end=end)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    found = load(path)
    assert faults(found) == [("no_text", "a.csv:32")]
    assert found.labels == ("no", "yes")


def test_long_fields_are_read(tmp_path: Path) -> None:
    long = "word " * 100_000
    found = load(csv_with(tmp_path, f'"{long}",yes'))
    assert found.problems == ()
    assert long in {row.text for rows in found.splits.values() for row in rows}


def test_a_field_beyond_the_limit_is_one_broken_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.data.formats.delimited._FIELD_LIMIT", 1000)
    found = load(csv_with(tmp_path, "x" * 1001 + ",yes", "after,no"))
    assert faults(found) == [("unreadable", "a.csv:32")]
    assert "field limit" in found.problems[0].detail


def test_a_semicolon_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\n" + "\n".join(row.replace(",", ";") for row in GOOD))
    found = load(path)
    assert rows_of(found) == 30
    assert "a.csv: columns are separated by a semicolon." in found.notes


# --- tsv quoting


@pytest.mark.parametrize("more", [[], ['"Hi" he said\tno']])
def test_tsv_with_quotes_as_text(tmp_path: Path, more: list[str]) -> None:
    rows = [row.replace(",", "\t") for row in GOOD]
    # Read as quoting, the two quotes would make one row of four.
    rows[3:3] = ['"Open it\tyes', "one\tno", "two\tno", 'said he"\tyes', *more]
    (tmp_path / "a.tsv").write_text("\n".join(["text\tlabel", *rows]))
    found = load(tmp_path / "a.tsv")
    assert found.problems == ()
    assert rows_of(found) == 34 + len(more)
    texts = {row.text for rows in found.splits.values() for row in rows}
    assert {'"Open it', *(row.split("\t")[0] for row in more)} <= texts
    assert "a.tsv: quotes are part of the text." in found.notes


def test_tsv_with_quoting(tmp_path: Path) -> None:
    rows = [row.replace(",", "\t") for row in GOOD]
    rows.append('"two ""lines""\nand a\ttab"\tyes')
    (tmp_path / "a.tsv").write_text("\n".join(["text\tlabel", *rows]))
    found = load(tmp_path / "a.tsv")
    assert found.problems == ()
    assert 'two "lines"\nand a\ttab' in {r.text for rows in found.splits.values() for r in rows}


def test_tsv_whose_header_is_quoted_is_quoted(tmp_path: Path) -> None:
    # Read as text, each of these rows would be two good ones.
    rows = ['"{}"\t"{}"'.format(*row.split(",")) for row in GOOD]
    rows += ['"0\t\n"\t"yes"', '"1\t\n"\t"no"']
    (tmp_path / "a.tsv").write_text("\n".join(['"text"\t"label"', *rows]))
    found = load(tmp_path / "a.tsv")
    assert found.problems == ()
    assert rows_of(found) == len(rows)
    assert found.labels == ("no", "yes")


# --- jsonl


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("{broken", "unreadable"),
        ("[" * 5000 + "]" * 5000, "unreadable"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", "unreadable"),
        ('"just a string"', "unreadable"),
        ('{"text": null, "label": "yes"}', "no_text"),
        ('{"label": "yes"}', "no_text"),
        ('{"text": 3, "label": "yes"}', "no_text"),
        ('{"text": "half \\ud800 pair", "label": "yes"}', "unreadable"),
        ('{"text": "a\\u0000b", "label": "yes"}', "unreadable"),
        ('{"text": "a"}', "no_label"),
        ('{"text": "a", "label": NaN}', "no_label"),
        ('{"text": "a", "label": {"x": 1}}', "unreadable"),
    ],
)
def test_a_broken_json_line(tmp_path: Path, line: str, kind: str) -> None:
    good = [json.dumps(dict(zip(("text", "label"), r.split(","), strict=True))) for r in GOOD]
    (tmp_path / "a.jsonl").write_text("\n".join([*good[:9], "", line, *good[9:]]))
    found = load(tmp_path / "a.jsonl")
    assert faults(found) == [(kind, "a.jsonl:11")]
    assert len(found.problems[0].detail) < 100
    assert rows_of(found) == 30


def test_a_json_array_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a", "label": "b"}]')
    with pytest.raises(UserError, match=r"holds a JSON array.*one object per line"):
        load(tmp_path / "a.json")


def test_a_bad_written_list(tmp_path: Path) -> None:
    rows = [f"t {i},\"['a', 'b']\"" if i % 2 else f't {i},"[]"' for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,labels", *rows, "odd,[a b]"]))
    assert faults(load(tmp_path / "a.csv")) == [("unreadable", "a.csv:32")]


# --- whole files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (b"text,label\n", "has no rows"),
        (b'"text,label\n', "no readable header"),
        (b"text,text\na,b\n", "two columns of one name.*text"),
        (b"text,label\na,\xff\n", r"a\.csv is not UTF-8.*byte 0xff at offset 13, line 2"),
        (
            codecs.BOM_UTF8 + b"text,label\na,\xe9t\xe9\n",
            r"is not UTF-8.*byte 0xe9 at offset 16, line 2",
        ),
        ("text,label\na,b\n".encode("utf-16"), r"is not UTF-8.*UTF-16.*save the file again"),
        (b"text,label\n" + b"a,yes\nb,yes\nc,yes\n", 'one class only.*"yes"'),
        (b"text,label\n,\n,\n,\n", r"3 of 3 rows of a\.csv are broken.*3 no_text: a\.csv:2"),
        (b"text,label\na,x\nb,y\n", "2 different texts are too few"),
    ],
)
def test_a_file_that_is_no_data_set(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.csv")


def test_more_than_half_broken_is_an_error_and_half_is_not(tmp_path: Path) -> None:
    assert rows_of(load(csv_with(tmp_path, *[",no"] * 30))) == 30
    with pytest.raises(UserError, match=r"31 of 61 rows of a\.csv are broken.*31 no_text"):
        load(csv_with(tmp_path, *[",no"] * 31))


def test_an_unlabelled_test_file_is_an_error(tmp_path: Path) -> None:
    csv_with(tmp_path).rename(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("text,label\na,-\nb,-\nc,yes\n")
    with pytest.raises(UserError, match=r"2 of 3 rows of test\.csv are broken.*2 unknown_label"):
        load(tmp_path)


def test_a_multi_label_file_without_any_label(tmp_path: Path) -> None:
    rows = [f"t {i},0,0" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,a,b", *rows]))
    with pytest.raises(UserError, match="no training row has a label"):
        load(tmp_path / "a.csv")


def test_labels_must_be_lines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be the name of a label"):
        load(csv_with(tmp_path, '"some","a\nb"'))


# --- labels and duplicates across splits


def test_labels_that_train_does_not_have(tmp_path: Path) -> None:
    csv_with(tmp_path).rename(tmp_path / "train.csv")
    (tmp_path / "dev.csv").write_text("text,label\nv1,yes\nv2,maybe\nv3,no\n")
    found = load(tmp_path)
    assert faults(found) == [("unknown_label", "dev.csv:3")]
    assert found.problems[0].detail == '"maybe": train does not have it'
    assert found.labels == ("no", "yes")


def test_labels_outside_the_explicit_ones(tmp_path: Path) -> None:
    found = load(csv_with(tmp_path, "text,maybe"), labels=("yes", "no"))
    assert faults(found) == [("unknown_label", "a.csv:32")]
    assert found.labels == ("yes", "no")


def test_duplicates_across_splits_stay_in_train_only(tmp_path: Path) -> None:
    csv_with(tmp_path).rename(tmp_path / "train.csv")
    (tmp_path / "dev.csv").write_text("text,label\n TEXT  3,yes\nv,no\nboth,no\n")
    (tmp_path / "test.csv").write_text("text,label\ntext 4,no\nboth,no\nt,yes\n")
    found = load(tmp_path)
    assert sorted(faults(found)) == [
        ("duplicate_across_splits", "dev.csv:2"),
        ("duplicate_across_splits", "dev.csv:4"),
        ("duplicate_across_splits", "test.csv:2"),
    ]
    assert "also in train, train.csv:5" in {problem.detail for problem in found.problems}
    assert [row.text for row in found.splits["validation"]] == ["v"]
    assert [row.text for row in found.splits["test"]] == ["both", "t"]
    assert len(found.splits["train"]) == 30


def test_a_test_file_that_repeats_the_training_rows(tmp_path: Path) -> None:
    csv_with(tmp_path).rename(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_bytes((tmp_path / "train.csv").read_bytes())
    with pytest.raises(UserError, match=r"no row is left in test.*30 duplicate_across_splits"):
        load(tmp_path)


def test_duplicates_within_a_split_stay_and_conflicts_are_told(tmp_path: Path) -> None:
    found = load(csv_with(tmp_path, "Text 3,yes", "text 3,no"))
    assert faults(found) == [("duplicate", "a.csv:32"), ("duplicate", "a.csv:33")]
    assert found.problems[0].detail == "same text as a.csv:5"
    assert found.problems[1].detail == "same text as a.csv:5, conflicting labels"
    assert rows_of(found) == 32


# --- paths


@pytest.mark.parametrize("source", ["", "nowhere/at/all", "sentiment", "HUB:a/b", "a\0b"])
def test_a_source_that_is_nothing(source: str) -> None:
    with pytest.raises(UserError, match=r"no data source.*sample:sentiment.*hub:stanfordnlp/imdb"):
        load_dataset(DataSettings(source=source))


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(UserError, match="symbolic link"):
        load(tmp_path / "loop.csv")
    (tmp_path / "gone.csv").symlink_to("missing.csv")
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "gone.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.csv").mkdir()
    with pytest.raises(UserError, match=r"train\.csv is not a file"):
        load(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe\.csv is not a file"):
        load(tmp_path / "pipe.csv")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"ends in \.xlsx.*\.csv, \.tsv"):
        load(tmp_path / "a.xlsx")
    with pytest.raises(UserError, match="name too long"):
        load(tmp_path / ("x" * 300 + ".csv"))


def test_a_closed_door(tmp_path: Path) -> None:
    path = csv_with(tmp_path)
    (tmp_path / "folder").mkdir()
    csv_with(tmp_path / "folder").rename(tmp_path / "folder" / "train.csv")
    for closed in (path, tmp_path / "folder"):
        closed.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            # Nothing is closed to root.
            tmp_path.chmod(0o755)
            tmp_path.parent.chmod(0o755)
            os.seteuid(65534)
        for closed in (path, tmp_path / "folder", tmp_path / "folder" / "train.csv"):
            with pytest.raises(UserError, match=r"cannot be read.*permission denied"):
                load(closed)
    finally:
        os.seteuid(user)
        for closed in (path, tmp_path / "folder"):
            closed.chmod(0o755)
