from __future__ import annotations

from pathlib import Path

import pytest

from export.unlabelled import NATURAL_TEXTS, choose_by_hash, choose_unlabelled, read_texts
from runtime.errors import UserError


def test_a_file_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(
        "\ufefffirst\r\n\n  \nsecond\u2028still second\nfirst\n caf\u00e9 \nlast".encode()
    )
    assert read_texts(path) == ("first", "second\u2028still second", " caf\u00e9 ", "last")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there is no text in"),
        (b"\n \n\t\n", "there is no text in"),
        (b"fine\n\xff\xfe broken\n", r"texts.txt, line 2, is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_of_texts(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "texts.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_texts(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_texts(tmp_path)


def test_the_choice_by_hash_depends_on_the_texts_alone() -> None:
    texts = [f"text {i}" for i in range(50)]
    chosen = [texts[i] for i in choose_by_hash(texts, 10)]
    assert len(chosen) == 10
    backwards = texts[::-1]
    assert {backwards[i] for i in choose_by_hash(backwards, 10)} == set(chosen)
    assert choose_by_hash(texts, 0) == []
    assert choose_by_hash(["\ud83d"] * 3, 2) == [0, 1]


def test_test_texts_fill_up_and_no_text_was_trained_on() -> None:
    validation = [f"v{i}" for i in range(500)]
    test = [f"t{i}" for i in range(300)]
    chosen = choose_unlabelled(validation, ["t0", "t1"], [*test, *test, "v7"], (), 2000)
    assert len(chosen) == len(set(chosen)) == NATURAL_TEXTS - 500
    assert set(chosen) <= {*test} - {"t0", "t1"}
    assert choose_unlabelled([f"v{i}" for i in range(600)], [], test, (), 2000) == ()
    assert choose_unlabelled(validation, [], test, (), 500) == (), "the limit holds for both"
    assert len(choose_unlabelled(["v"], [], ["a", "b"], (), 2000)) == 2


def test_own_texts_come_first_and_count() -> None:
    own = ["mine", "v", "seen", "mine", "t0"]
    chosen = choose_unlabelled(["v"], ["seen"], [f"t{i}" for i in range(9)], own, 5)
    assert chosen[:2] == ("mine", "t0")
    assert len(chosen) == len(set(chosen)) == 4
    assert set(chosen[2:]) < {f"t{i}" for i in range(1, 9)}
    many = [f"own {i}" for i in range(100)]
    assert len(choose_unlabelled([], [], [], many, 30)) == 30
