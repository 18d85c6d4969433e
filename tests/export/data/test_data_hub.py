"""The hub: what can be checked without a network, and with or without `datasets`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.data import DataSettings, load_dataset
from export.data.assemble import assemble
from export.data.sources.hub import source_of
from runtime.errors import MissingExtraError, UserError

ROOT = Path(__file__).parents[3]


def test_heavy_packages_wait_until_they_are_needed() -> None:
    code = (
        "import sys, export.data, export.data.formats as f; f.suffixes();"
        "heavy = {'torch', 'transformers', 'pyarrow', 'datasets', 'sklearn', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"datasets.*mobile-export\[hub\]"):
        load_dataset(DataSettings(source="hub:stanfordnlp/imdb"))


@pytest.mark.parametrize("name", ["", "imdb", "a/b/c", "a/b:", "../b c", "https://x/y"])
def test_names_that_the_hub_cannot_have(name: str) -> None:
    with pytest.raises(UserError, match=r"does not name a data set.*hub:ORG/NAME"):
        load_dataset(DataSettings(source=f"hub:{name}"))


def test_a_folder_is_not_taken_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"org/name is a folder here"):
        load_dataset(DataSettings(source="hub:org/name"))


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    code = (
        "from export.data import *\n"
        "from runtime.errors import UserError\n"
        "try: load_dataset(DataSettings(source='hub:stanfordnlp/imdb'))\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("the hub cannot be reached for stanfordnlp/imdb.")
    assert "check the network" in line


def test_single_label_with_class_names() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "score": datasets.List(datasets.Value("float32")),
            "photo": datasets.Image(),
        }
    )

    def part(name: str, size: int) -> object:
        rows = [
            {"text": f"{name} {i}", "label": i % 2, "score": [0.5], "photo": None}
            for i in range(size)
        ]
        rows.append({"text": "unlabelled", "label": -1, "score": [], "photo": None})
        return datasets.Dataset.from_list(rows, features=features)

    loaded = datasets.DatasetDict(train=part("a", 40), test=part("b", 6), unsupervised=part("c", 2))
    found = assemble(source_of(loaded, "org/name:config"), DataSettings())
    assert found.name == "org/name:config"
    assert found.labels == ("neg", "pos")
    assert {s: len(rows) for s, rows in found.splits.items()} == {
        "train": 36,
        "validation": 4,
        "test": 6,
    }
    assert [(p.kind, p.where) for p in found.problems] == [
        ("no_label", "train:41"),
        ("no_label", "test:7"),
    ]
    assert found.notes[0] == "Splits left aside: unsupervised."


def test_multi_label_with_class_names() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.List(datasets.ClassLabel(names=["joy", "anger", "love"])),
        }
    )
    rows = [{"text": f"t {i}", "labels": [2, 0] if i % 2 else []} for i in range(30)]
    loaded = datasets.DatasetDict(train=datasets.Dataset.from_list(rows, features=features))
    found = assemble(source_of(loaded, "org/name"), DataSettings())
    assert (found.kind, found.labels) == ("multi_label", ("joy", "anger", "love"))
    labels = {row.text: row.labels for rows in found.splits.values() for row in rows}
    assert labels["t 1"] == (0, 2)
    assert labels["t 2"] == ()


def test_splits_that_do_not_fit() -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]})
    with pytest.raises(UserError, match=r"no training split.*splits: test"):
        source_of(datasets.DatasetDict(test=part), "org/name")
    with pytest.raises(UserError, match=r"two splits for validation.*dev"):
        source_of(datasets.DatasetDict(train=part, dev=part, validation=part), "org/name")


def test_a_parquet_file_of_the_package_keeps_its_class_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["z", "a"])
    rows = {"text": [f"t {i}" for i in range(30)], "label": [i % 2 for i in range(30)]}
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    assert load_dataset(DataSettings(source=str(tmp_path / "a.parquet"))).labels == ("z", "a")


def test_loading_from_a_cached_hub_layout(tmp_path: Path) -> None:
    """The real `datasets.load_dataset`, on a folder laid out as a hub repository is."""
    datasets = pytest.importorskip("datasets")
    lines = [json.dumps({"text": f"t {i}", "label": "ab"[i % 2]}) for i in range(30)]
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "train.jsonl").write_text("\n".join(lines))
    loaded = datasets.load_dataset(
        str(tmp_path / "repo"), None, revision=None, cache_dir=str(tmp_path / "cache")
    )
    found = assemble(source_of(loaded, "org/repo"), DataSettings())
    assert found.labels == ("a", "b")
    assert found.sha256() == load_dataset(DataSettings(source=str(tmp_path / "repo"))).sha256()
