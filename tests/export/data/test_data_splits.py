"""Splits that are made: stratified, without leaks, and a function of rows and seed alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.data import DataSettings, Example, TextDataset, load_dataset
from export.data.duplicates import text_key
from export.data.rows import NamedRow
from export.data.splits import carve
from runtime.errors import UserError


def row(text: str, *names: str) -> NamedRow:
    return NamedRow(text, names, "here:1")


def made(rows: list[NamedRow], seed: int = 13) -> dict[str, list[NamedRow]]:
    return carve(rows, ("validation", "test"), seed)


def labels_in(rows: list[NamedRow]) -> Counter[str]:
    return Counter(name for row in rows for name in row.names)


def test_single_label_shares() -> None:
    sizes = {"common": 700, "usual": 200, "rare": 60, "scarce": 40}
    rows = [row(f"{name} {i}", name) for name, size in sizes.items() for i in range(size)]
    splits = made(rows)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 800,
        "validation": 100,
        "test": 100,
    }
    for split in ("validation", "test"):
        for name, size in sizes.items():
            assert abs(labels_in(splits[split])[name] - size / 10) <= 1


def test_multi_label_shares() -> None:
    chance = random.Random(5)
    odds = {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.04, "e": 0.03}
    rows = [
        row(f"text {i}", *(name for name, odd in odds.items() if chance.random() < odd))
        for i in range(2000)
    ]
    splits = made(rows)
    total = labels_in(rows)
    for split in ("validation", "test"):
        assert len(splits[split]) == 200
        for name in odds:
            found = labels_in(splits[split])[name]
            assert abs(found - total[name] / 10) <= max(2.0, 0.03 * total[name] / 10 + 3)


def test_rare_labels_stay_in_training() -> None:
    rows = [row(f"a {i}", "a") for i in range(50)] + [row(f"b {i}", "b") for i in range(50)]
    rows += [row("once", "single"), row("twice 1", "double"), row("twice 2", "double")]
    for seed in range(20):
        assert set(labels_in(made(rows, seed)["train"])) == {"a", "b", "single", "double"}


def test_equal_texts_stay_together() -> None:
    rows = [row(f"{'Text' if i % 3 else 'text'}  {i // 3}", "ab"[i % 2]) for i in range(150)]
    splits = made(rows)
    keys = [{text_key(r.text) for r in part} for part in splits.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 50
    assert sum(map(len, splits.values())) == 150


def test_the_seed_matters_and_the_order_does_not() -> None:
    rows = [row(f"text {i}", "abc"[i % 3]) for i in range(120)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert made(rows) == made(shuffled)
    assert made(rows)["test"] != made(rows, seed=14)["test"]


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_rows(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} different texts are too few"):
        made([row(f"text {i}", "ab"[i % 2]) for i in range(count)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from("abcdef"), max_size=3), min_size=30, max_size=90),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_any_label_sets_split_without_loss(
    label_sets: list[set[str]], seed: int, chance: random.Random
) -> None:
    rows = [row(f"text {i}", *sorted(names)) for i, names in enumerate(label_sets)]
    splits = made(rows, seed)
    assert sorted(r.text for part in splits.values() for r in part) == sorted(r.text for r in rows)
    assert len(splits["test"]) == len(splits["validation"]) == max(1, round(len(rows) / 10))
    assert set(labels_in(splits["train"])) == set(labels_in(rows))
    chance.shuffle(rows)
    assert made(rows, seed) == splits


def load(path: Path, **options: Any) -> TextDataset:
    return load_dataset(DataSettings(source=str(path), **options))


def test_a_shuffled_file_gives_the_same_data_set(tmp_path: Path) -> None:
    lines = [f"text {i},{'abc'[i % 3]}" for i in range(90)]
    lines += ["Text 4,a", "text 4,b", "text 4,b"]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]))
    first = load(tmp_path / "a.csv")
    random.Random(2).shuffle(lines)
    (tmp_path / "b.csv").write_text("\n".join(["text,label", *lines]))
    second = load(tmp_path / "b.csv")
    assert first.splits == second.splits
    assert first.sha256() == second.sha256()
    assert load(tmp_path / "a.csv", seed=14).sha256() != first.sha256()


def test_the_hash_covers_labels_and_rows(tmp_path: Path) -> None:
    lines = [f"text {i},{'abc'[i % 3]}" for i in range(90)]
    hashes = set()
    for name, header, change in (
        ("a", "text,label", lines),
        ("b", "text,label", ["texts 0,a", *lines[1:]]),
        ("c", "text,label", ["text 0,b", *lines[1:]]),
        ("d", "text,label", lines[1:]),
    ):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *change]))
        hashes.add(load(tmp_path / f"{name}.csv").sha256())
    hashes.add(load(tmp_path / "a.csv", labels=("c", "b", "a")).sha256())
    hashes.add(load(tmp_path / "a.csv", kind="multi_label").sha256())
    assert len(hashes) == 6


def test_the_hash_sees_every_part_of_a_row() -> None:
    def hashed(text: str, *indices: int, split: str = "train", name: str = "n") -> str:
        rows: dict[str, tuple[Example, ...]] = {split: (Example(text, indices),)}
        return TextDataset(name, "multi_label", ("a", "b"), rows, (), ()).sha256()

    variants = [("t",), ("t", 0), ("t", 1), ("t", 0, 1), ("u", 0)]
    hashes = {hashed(*variant) for variant in variants}  # type: ignore[arg-type]
    hashes.add(hashed("t", 0, split="test"))
    assert len(hashes) == 6
    assert hashed("t", 0, name="other") == hashed("t", 0)


def test_the_hash_does_not_depend_on_pythons(tmp_path: Path) -> None:
    lines = [f"text {i},{'a|b' if i % 3 else 'c'}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text,labels", *lines]))
    code = (
        "import sys; from export.data import *;"
        "print(load_dataset(DataSettings(source=sys.argv[1])).sha256())"
    )
    root = Path(__file__).parents[3]
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.csv")],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {load(tmp_path / "a.csv").sha256() + "\n"}
