"""Codes in a file become words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.cli import app
from export.data import DataSettings, TextDataset, load_dataset
from export.data.label_names import are_codes, read_label_names
from runtime.errors import UserError


def folder(tmp_path: Path, labels: str = "bt", header: str = "text,label") -> Path:
    lines = [f"text number {n},{labels[n % len(labels)]}" for n in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join([header, *lines]))
    return tmp_path / "rows.csv"


def load(path: Path, names: str = "", **settings: object) -> TextDataset:
    return load_dataset(
        DataSettings(source=str(path), label_names=read_label_names(names), **settings)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        (("b", "t"), True),
        (("0", "1", "-1"), True),
        (("LABEL_0", "LABEL_1"), True),
        (("class 1", "class 2"), True),
        (("b", "sport"), False),
        (("no", "up"), False),
        ((), False),
    ],
)
def test_codes(labels: tuple[str, ...], codes: bool) -> None:
    assert are_codes(labels) is codes


def test_codes_are_pointed_out(tmp_path: Path) -> None:
    found = load(folder(tmp_path))
    assert found.labels == ("b", "t")
    assert found.notes[-1] == (
        "The labels are codes (b, t): --label-names b=...,t=... makes the model speak words."
    )


def test_names_take_their_place(tmp_path: Path) -> None:
    plain = load(folder(tmp_path))
    found = load(folder(tmp_path), "t=science, b = business")
    assert found.labels == ("business", "science")
    assert found.splits == plain.splits  # b and business both come first
    assert not any("codes" in note for note in found.notes)


def test_the_order_follows_the_names(tmp_path: Path) -> None:
    found = load(folder(tmp_path), "b=zoo,t=art")
    assert found.labels == ("art", "zoo")
    chosen = load(folder(tmp_path), "b=zoo,t=art", labels=("zoo", "art"))
    assert chosen.labels == ("zoo", "art")


def test_numbers_may_swap(tmp_path: Path) -> None:
    plain = load(folder(tmp_path, "01"))
    found = load(folder(tmp_path, "01"), "0=1,1=0")
    assert found.labels == plain.labels == ("0", "1")
    assert {e.text: e.labels for e in plain.splits["test"]} != {
        e.text: e.labels for e in found.splits["test"]
    }


def test_columns_of_0_and_1(tmp_path: Path) -> None:
    lines = [f"text number {n},{n % 2},{n % 3 % 2}" for n in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,a,b", *lines]))
    found = load(tmp_path / "rows.csv", "b=kind,a=rude")
    assert found.labels == ("rude", "kind")
    assert found.kind == "multi_label"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("b=business", "no name for t"),
        ("b=x,t=x", "two labels would be called x"),
        ("b=x,t=y,m=z", "no training row has the label m"),
        ("b=x,b=y,t=z", "named twice"),
        ("b=,t=y", "not code=name"),
        ("nowhere.txt", "neither a file"),
        ("x" * 5000, "neither a file"),
        ("b=x\x07,t=y", "cannot be the name"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, names: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(folder(tmp_path), names)


def test_labels_that_do_not_count_need_no_name(tmp_path: Path) -> None:
    rows = folder(tmp_path, "bbttbbttx")
    found = load(rows, "b=business,t=science", labels=("science", "business"))
    assert found.labels == ("science", "business")
    assert found.problem_counts() == {"unknown_label": 4}


def test_a_name_is_not_another_label_s_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two labels would be called x"):
        load(folder(tmp_path, "bbttbbttx"), "b=x,t=science", labels=("x", "science"))


def test_files(tmp_path: Path) -> None:
    wanted = (("0", "food, drinks"), ("1", "a=b"))
    lines, object_ = tmp_path / "names.txt", tmp_path / "names.json"
    lines.write_text("0=food, drinks\n\n1 = a=b\n", encoding="utf-8-sig")
    object_.write_text(json.dumps(dict(wanted)))
    assert read_label_names(str(lines)) == wanted
    assert read_label_names(str(object_)) == wanted
    assert read_label_names("") == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xff\xfe0", "not UTF-8"),
        (b'{"0": 1}', "one name for each code"),
        (b'{"0": ', "not JSON"),
        (b"0 business", "not code=name"),
        (b'{"0": "a", "0": "b"}', "named twice"),
        (b"{" * 200_000, "not JSON"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_label_names(str(tmp_path / "names"))


@pytest.mark.parametrize("command", ["finetune", "export"])
def test_the_command_line_takes_them(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = [command, "--data", str(rows), "--label-names", "b=business", "--out", "made"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert "no name for t" in str(result.exception)
