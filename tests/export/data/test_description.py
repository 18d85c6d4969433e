"""What is said about labels and lengths before training."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from export.data import DataSettings, load_dataset
from export.data.description import (
    balance_lines,
    bar,
    histogram_line,
    imbalance,
    label_counts,
    length_line,
)
from export.data.report import describe_data
from export.data.task import Example, Kind, TextDataset
from export.data.token_lengths import describe_lengths, token_lengths


def data(
    texts: list[str], labels: list[tuple[int, ...]], names: tuple[str, ...], kind: Kind
) -> TextDataset:
    rows = tuple(Example(t, found) for t, found in zip(texts, labels, strict=True))
    splits: dict[str, tuple[Example, ...]] = {"train": rows, "validation": rows[:1], "test": ()}
    return TextDataset("name", kind, names, splits, (), ())


def skewed(*counts: int) -> TextDataset:
    labels = [(index,) for index, count in enumerate(counts) for _ in range(count)]
    names = tuple(f"n{index:02}" for index in range(len(counts)))
    return data(["some words"] * len(labels), labels, names, "single_label")


def english(*texts: str) -> TextDataset:
    return data(list(texts), [(0,)] * len(texts), ("a", "b"), "single_label")


def wordpiece(*tokens: str, lowercase: bool = True) -> Tokenizer:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *tokens]
    vocab = {token: index for index, token in enumerate(names)}
    made = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def test_counts_of_labels() -> None:
    found = label_counts(skewed(30, 10))
    assert [(c.label, c.rows) for c in found] == [
        ("n00", {"train": 30, "validation": 1, "test": 0}),
        ("n01", {"train": 10, "validation": 0, "test": 0}),
    ]
    assert imbalance(skewed(30, 10, 0)) == 3


def test_the_table_is_largest_first_with_bars() -> None:
    lines = balance_lines(skewed(10, 30))
    assert lines[0].split() == ["label", "train", "valid.", "test"]
    assert lines[1].split() == ["n01", "30", "75%", "0", "0", "█" * 24]
    assert lines[2].split() == ["n00", "10", "25%", "1", "0", "█" * 8]
    assert lines[3:] == ["The largest label has 3.0 times the rows of the smallest."]


def test_rare_and_skewed_labels_are_pointed_out() -> None:
    assert balance_lines(skewed(90, 12, 9))[-1] == (
        "warning: fewer than 10 training rows: n02 (9); add rows; --class-weights balanced makes "
        "rare ones count."
    )
    assert "12 times" in balance_lines(skewed(144, 12))[-1]
    assert "--class-weights" in balance_lines(skewed(144, 12))[-1]
    assert "--class-weights" not in balance_lines(skewed(20, 12))[-1]


def test_many_labels_show_their_ends() -> None:
    lines = balance_lines(skewed(*range(10, 87)))
    shown = [line.split()[0] for line in lines[1:-1]]
    assert shown[:5] == ["n76", "n75", "n74", "n73", "n72"]
    assert lines[6] == "... 67 more labels ..."
    assert shown[-5:] == ["n04", "n03", "n02", "n01", "n00"]


def test_multi_label_says_how_many_labels_rows_carry() -> None:
    found = data(["a"] * 20, [(0, 1)] * 10 + [()] * 10, ("x", "y"), "multi_label")
    assert "1.00 labels a training row on average; 50% carry none." in balance_lines(found)


@pytest.mark.parametrize(
    ("share", "text"), [(0, ""), (1, "████"), (0.5, "██"), (1 / 32, "▏"), (0.001, "▏"), (2, "████")]
)
def test_bars(share: float, text: str) -> None:
    assert bar(share, width=4) == text


def test_a_histogram() -> None:
    assert histogram_line("words", [1, 1, 2, 4]) == (
        "words a text: 1 |█▄▄| 3+   half up to 2, 95% up to 4, longest 4"
    )
    assert (
        histogram_line("ids", [7]) == "ids a text: 7 |█| 7   half up to 7, 95% up to 7, longest 7"
    )


def test_a_long_tail_does_not_flatten_the_histogram() -> None:
    line = histogram_line("words", [*([5, 6, 7, 8] * 100), 10_000])
    assert "|▇▇▇█| 8+" in line
    assert "longest 10000" in line


def test_texts_without_blanks_are_counted_in_characters() -> None:
    assert length_line(english("two words")).startswith("words a text: 2")
    assert length_line(english("我昨天晚上开始无法登录我的账户了吗呢")).startswith(
        "characters a text: 18"
    )


def test_the_report_is_short(capsys: pytest.CaptureFixture[str], weather: TextDataset) -> None:
    describe_data(weather)
    err = capsys.readouterr().err
    assert "rainy" in err
    assert "words a text: " in err
    assert len(err.splitlines()) <= 25
    describe_data(skewed(*range(10, 87)))
    assert len(capsys.readouterr().err.splitlines()) <= 40


def test_what_was_left_out_is_told_by_split(tmp_path: Path) -> None:
    lines = [f"text {number} of many,{'ab'[number % 2]}" for number in range(40)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(lines))
    (tmp_path / "test.csv").write_text("text,label\nTEXT 3  of many,b\nnew,a\nother,b\n")
    found = load_dataset(DataSettings(source=str(tmp_path)))
    assert "Left out, as another split has the text: 1 test rows." in found.notes
    assert len(found.splits["test"]) == 2


def test_full_width_letters_and_ligatures_are_the_same_text(tmp_path: Path) -> None:
    lines = [f"oﬃce {number},{'ab'[number % 2]}" for number in range(40)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    (tmp_path / "test.csv").write_text(
        "text,label\noffice 3,b\nＯｆｆｉｃｅ 4,a\nnew,a\nother,b\n", encoding="utf-8"
    )
    found = load_dataset(DataSettings(source=str(tmp_path)))
    assert found.problem_counts() == {"duplicate_across_splits": 2}


def test_ids_are_counted_before_they_are_cut() -> None:
    tokenizer = wordpiece("good", "bad", "##ly")
    tokenizer.enable_truncation(4)
    before = tokenizer.to_str()
    found = token_lengths(english("good", "badly good badly", "bad good"), tokenizer, 4)
    assert tokenizer.to_str() == before
    assert found.lengths == (3, 7, 4)
    assert found.cut == pytest.approx(1 / 3)
    assert found.ids_per_word == pytest.approx(8 / 6)
    assert found.unknown_ids == 0
    assert found.script == "LATIN"
    assert any("lose their end" in line for line in found.lines())


def test_an_unknown_language_is_pointed_out() -> None:
    found = token_lengths(english("good", "нет", "да нет"), wordpiece("good"), 16)
    assert found.unknown_ids == pytest.approx(3 / 4)
    assert found.unknown_letters == pytest.approx(8 / 12)
    assert found.unknown == ("нет", "да")
    assert found.script == "CYRILLIC"
    text = "\n".join(found.lines())
    assert "does not know 67% of the characters, as in нет, да" in text
    assert "mostly Cyrillic" in text


def test_words_in_small_pieces_are_pointed_out() -> None:
    pieces = wordpiece("g", "##u", "##t", "##e", "##r")
    assert any(
        "fall into 5.0 pieces" in line
        for line in token_lengths(english("guter"), pieces, 16).lines()
    )
    whole = wordpiece("guter")
    assert len(token_lengths(english("guter"), whole, 16).lines()) == 2


def test_languages_without_blanks_are_not_judged_by_words() -> None:
    letters = "我昨天晚上"
    found = token_lengths(english(letters), wordpiece(*letters), 16)
    assert found.ids_per_word == 5
    assert found.script == "CJK"
    assert len(found.lines()) == 2


def test_dropped_accents_are_told() -> None:
    found = token_lengths(english("été"), wordpiece("ete"), 16)
    assert found.accents == pytest.approx(2 / 3)
    assert "67% of the letters carry accents" in found.lines()[-1]
    kept = token_lengths(english("été"), wordpiece("été", lowercase=False), 16)
    assert kept.accents == 0


def test_nothing_but_emoji() -> None:
    found = token_lengths(english("😀"), wordpiece("good"), 16)
    assert (found.script, found.unknown_ids) == ("NO", 1)


def test_it_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    found = describe_lengths(english("good bad"), wordpiece("good", "bad"), 16)
    captured = capsys.readouterr()
    assert found.lengths == (4,)
    assert "ids a text: 4" in captured.err
    assert captured.out == ""
