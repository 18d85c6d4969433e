from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.data import DataSettings, load_dataset
from export.data.task import TextDataset
from export.pipeline import export_bundle
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION, read_golden
from runtime.tokenizer import TextTokenizer

from support import export_settings


def test_the_whole_reference_set(bundle_folder: Path, weather: TextDataset) -> None:
    """Natural texts of both splits, boundary and awkward texts; labels of validation alone."""
    golden = read_golden(bundle_folder / "golden.json")
    texts = {
        name: [golden.cases[i].text for i in golden.rows(name)]
        for name in (VALIDATION, UNLABELLED, BOUNDARY, AWKWARD)
    }
    train = {example.text for example in weather.splits["train"]}
    assert texts[VALIDATION] == [example.text for example in weather.splits["validation"]]
    assert texts[UNLABELLED] == [example.text for example in weather.splits["test"]]
    assert not {*texts[UNLABELLED], *texts[BOUNDARY]} & train
    natural_and_made = texts[VALIDATION] + texts[UNLABELLED] + texts[BOUNDARY]
    assert len(set(natural_and_made)) == len(natural_and_made)
    manifest = open_bundle(bundle_folder).manifest
    tokenizer = TextTokenizer(bundle_folder / manifest.tokenizer.file, manifest.tokenizer)
    for case in golden.cases:
        assert list(case.input_ids) == tokenizer.ids(case.text)
    assert np.isfinite(golden.reference).all()


def test_own_texts_are_in_the_reference_set(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    trained = load_dataset(DataSettings(source=str(weather_file))).splits["train"][0].text
    mine = tmp_path / "mine.txt"
    mine.write_text(f"a text of my own\n{trained}\nanother one\na text of my own\n")
    settings = export_settings(
        checkpoint_folder, weather_file, tmp_path / "out", recipes=("float32",), texts=mine
    )
    assert export_bundle(settings).bundle is not None
    golden = read_golden(tmp_path / "out" / "golden.json")
    texts = [golden.cases[i].text for i in golden.rows(UNLABELLED)]
    assert texts[:2] == ["a text of my own", "another one"]
    assert trained not in texts

    mine.write_text(f"{trained}\n")
    with pytest.raises(UserError, match="the training or validation data have all of them"):
        export_bundle(settings)
    mine.write_bytes(b"\xff\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        export_bundle(settings)
